package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// stopLimit is how long Ctrl-C may take.
const stopLimit = 10 * time.Second

// TestLeftovers: what is stopped or killed leaves nothing behind, and starts again.
func TestLeftovers(t *testing.T) {
	s := prepared(t, mesh.Config{Fleet: few})
	t.Run("first start", s.start)
	if t.Failed() {
		return
	}
	t.Run("Ctrl-C", s.stopsClean)
	t.Run("kill -9 of outrigger up", func(t *testing.T) {
		s.start(t)
		namespaces := must(s.Namespaces())(t)
		check(t, s.Kill())
		s.gone(t, namespaces)
	})
	t.Run("kill -9 of the supervisor inside", func(t *testing.T) {
		s.start(t) // cleans up what the one before has left
		namespaces := must(s.Namespaces())(t)
		check(t, syscall.Kill(must(s.Snapshot())(t).Supervisor, syscall.SIGKILL))
		eventually(t, 10*time.Second, func(context.Context) error {
			if s.Running() {
				return errors.New("outrigger up goes on though its supervisor was killed")
			}
			return nil
		})
		if s.Stop() == nil && !strings.Contains(s.Output(), "killed") {
			t.Errorf("outrigger up does not say what happened: %s", s.Output())
		}
		s.gone(t, namespaces)
	})
	t.Run("and once more", func(t *testing.T) {
		began := time.Now()
		s.start(t)
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it was ready after %v, want 15 s at most", took)
		}
		eventually(t, settleLimit, s.whole)
	})
}

// stopsClean stops the mesh as Ctrl-C does, and expects that it ends in time and leaves
// nothing.
func (s *site) stopsClean(t *testing.T) {
	t.Helper()
	namespaces := must(s.Namespaces())(t)
	began := time.Now()
	check(t, s.Stop())
	took := time.Since(began)
	t.Logf("the mesh stopped within %v", took.Round(time.Millisecond))
	if took >= stopLimit {
		t.Errorf("it took %v to stop, want less than %v", took, stopLimit)
	}
	check(t, s.spans.Close())
	s.spans = nil // its socket is ours, not the mesh's
	check(t, s.Leftover(namespaces))
}

// gone expects that soon no process, namespace or mount of a killed mesh is there. Its
// sockets are files that the next start removes.
func (s *site) gone(t *testing.T, namespaces mesh.Namespaces) {
	t.Helper()
	eventually(t, 5*time.Second, func(context.Context) error {
		err := s.Leftover(namespaces)
		if err == nil {
			return nil
		}
		for line := range strings.Lines(err.Error()) {
			if !strings.Contains(line, "left in the state folder") {
				return err
			}
		}
		return nil
	})
}

// TestUpRefusals: what stands in the way is said at once, with what to do.
func TestUpRefusals(t *testing.T) {
	s := sturdy(t)
	fleet := s.root.Path("deploy", "local", "fleet.yaml")
	up := func(args ...string) []string {
		return append([]string{"up", "--fleet", fleet, "--bin", s.root.Path("bin"), "--envoy", s.root.Envoy(), "--free-ports"}, args...)
	}
	taken := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer taken.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	wrong := write(t, "envoy", "#!/bin/sh\necho 'envoy  version: 0/1.2.3/Clean/RELEASE/BoringSSL'\n")
	check(t, os.Chmod(wrong, 0o755))
	noFolder := write(t, "state", "a file, not a folder")
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"a port in use", up("--state", t.TempDir(), "--ingress-port", port), []string{port, "in use", "--ingress-port"}},
		{"the wrong Envoy", up("--state", t.TempDir(), "--envoy", wrong), []string{"1.2.3", mesh.EnvoyVersion}},
		{"no Envoy", up("--state", t.TempDir(), "--envoy", "/no/such/envoy"), []string{"/no/such/envoy", "what to do"}},
		{"no binaries", up("--state", t.TempDir(), "--bin", t.TempDir()), []string{"make build"}},
		{"a state that is a file", up("--state", noFolder), []string{noFolder, "--state"}},
		{"a mesh that runs", up("--state", s.State), []string{"runs already", fmt.Sprint(s.UpPID()), "outrigger down"}},
		{"a long path", up("--state", filepath.Join(t.TempDir(), strings.Repeat("x", 100))), []string{"too long", "--state"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := must(s.root.Outrigger(t.Context(), t.TempDir(), nil, c.args...))(t)
			if result.Code == 0 || result.Took > 10*time.Second {
				t.Fatalf("want a refusal at once: %s", result)
			}
			check(t, result.Expect(result.Code, append(c.want, "what to do")...))
		})
	}
	check(t, s.Settled())
}
