module github.com/outrigger-mesh/outrigger/services/citadel-ca

go 1.26.0

require github.com/outrigger-mesh/outrigger/internal v0.0.0

require (
	github.com/google/go-cmp v0.7.0
	golang.org/x/crypto v0.58.0
)

require golang.org/x/sys v0.49.0 // indirect

replace (
	github.com/outrigger-mesh/outrigger/internal => ../../internal
	github.com/outrigger-mesh/outrigger/proto => ../../proto
)

replace golang.org/x/exp => golang.org/x/exp v0.0.0-20260908205506-85c1c2202aba
