module github.com/outrigger-mesh/outrigger/services/citadel-ca

go 1.26.0

require github.com/outrigger-mesh/outrigger/internal v0.0.0

require github.com/google/go-cmp v0.7.0

replace (
	github.com/outrigger-mesh/outrigger/internal => ../../internal
	github.com/outrigger-mesh/outrigger/proto => ../../proto
)
