module github.com/outrigger-mesh/outrigger/services/sidecar-agent

go 1.26.0

require github.com/outrigger-mesh/outrigger/internal v0.0.0

replace (
	github.com/outrigger-mesh/outrigger/internal => ../../internal
	github.com/outrigger-mesh/outrigger/proto => ../../proto
)
