module github.com/outrigger-mesh/outrigger/internal

go 1.26.0

replace github.com/outrigger-mesh/outrigger/proto => ../proto
