package e2e

import "github.com/outrigger-mesh/outrigger/e2e/mesh"

// outsideHost is a machine beside the mesh: an application without a sidecar, that
// answers plain HTTP at outsidePort.
const (
	outsideHost = "outside"
	outsidePort = "9080"
)

// addOutside adds that machine to a fleet.
func addOutside(f *mesh.FleetFile) {
	f.Add("hosts", map[string]any{
		"name": outsideHost, "namespace": "default", "account": "outside",
		"app": map[string]any{
			"command": "bookinfo", "args": []any{"--service", "details", "--instance", outsideHost},
			"user": "application", "ready": map[string]any{"tcp": "127.0.0.1:" + outsidePort},
		},
	})
}
