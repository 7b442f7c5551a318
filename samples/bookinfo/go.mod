module github.com/outrigger-mesh/outrigger/samples/bookinfo

go 1.26.0
