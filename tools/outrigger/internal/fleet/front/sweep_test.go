package front

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSweepLeavesNoSocketOfTheDead(t *testing.T) {
	state := t.TempDir()
	listen := func(name string) *net.UnixListener {
		path := filepath.Join(state, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		return listener
	}
	for _, name := range []string{"run/pilot.sock", "run/fwd/web.sock", "hosts/a/sds.sock", "hosts/a/envoy/admin.sock", "ingress/envoy/sds.sock"} {
		killed := listen(name)
		killed.SetUnlinkOnClose(false)
		killed.Close()
	}
	defer listen("run/otlp.sock").Close()
	defer listen("hosts/other.sock").Close()
	for _, name := range []string{"run/fleet.json", "run/.fleet.json.new", "hosts/a/fleet.json", "hosts/a/envoy/envoy.pid"} {
		if err := os.WriteFile(filepath.Join(state, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweep(state); err != nil {
		t.Fatal(err)
	}
	var left []string
	err := filepath.WalkDir(state, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			left = append(left, path[len(state)+1:])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(left)
	want := []string{"hosts/a/envoy/envoy.pid", "hosts/a/fleet.json", "hosts/other.sock", "run/otlp.sock"}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if err := sweep(filepath.Join(state, "nowhere")); err != nil {
		t.Errorf("where no fleet was: %v", err)
	}
}
