package bare_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/bare"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

func TestEnvoyTakesBothConfigs(t *testing.T) {
	root, err := mesh.FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	files, err := bare.Pair{
		Server: netip.MustParseAddr("10.77.1.200"), Policy: netip.MustParseAddr("10.77.1.201"), App: 9080,
	}.Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"client": files.Client, "server": files.Server} {
		path := filepath.Join(t.TempDir(), name+".json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), root.Envoy(), "--mode", "validate", "--config-path", path).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
