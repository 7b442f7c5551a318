package agent_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/envoy/envoytest"
	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
)

// fleet is what surrounds one sidecar: an authority, pilot with both of its APIs, and
// the application.
type fleet struct {
	t        *testing.T
	dir      string
	ca       *identitytest.Authority
	pilot    *envoytest.Pilot
	registry *registry
	api      *server
	app      net.Listener
	inbound  netip.AddrPort
	outbound netip.AddrPort
	dns      netip.AddrPort
	status   netip.AddrPort
}

func newFleet(t *testing.T, life time.Duration) *fleet {
	t.Helper()
	f := &fleet{
		t: t, dir: envoytest.Dir(t), ca: identitytest.New(t, "cluster.local"), registry: newRegistry(),
		inbound: envoytest.FreePort(t), outbound: envoytest.FreePort(t), dns: envoytest.FreePort(t), status: envoytest.FreePort(t),
	}
	f.ca.Life = life
	pilot := f.ca.Source("outrigger-system", "pilot").ServerTLS(true)
	f.pilot = envoytest.NewPilot(t, pilot)
	f.api = serve(t, f.registry, pilot)
	var err error
	if f.app, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.app.Close() })
	return f
}

func (f *fleet) world(revision uint64) envoytest.World {
	return envoytest.World{
		Revision: revision,
		Listeners: []envoytest.Resource{
			envoytest.HTTPListener("inbound", f.inbound, "in"), envoytest.HTTPListener("outbound", f.outbound, "out"),
		},
		Clusters: []envoytest.Resource{envoytest.StaticCluster("away", f.app.Addr().(*net.TCPAddr).AddrPort())},
	}
}

// serve serves by TLS on loopback. (httptest.Server shows a certificate of its own to
// those who ask for an address.)
func serve(t *testing.T, h http.Handler, settings *tls.Config) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Server: &http.Server{Handler: h, TLSConfig: settings}, URL: "https://" + l.Addr().String()}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = s.Close(); <-served })
	return s
}

type server struct {
	*http.Server
	URL string
}

// binary builds the agent as it is shipped, once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "or")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sidecar-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/sidecar-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// process is one running agent.
type process struct {
	*exec.Cmd
	t   *testing.T
	log *bytes.Buffer
}

// start runs the agent; with join, a token is handed to it.
func (f *fleet) start(join bool) *process {
	f.t.Helper()
	path, err := binary()
	if err != nil {
		f.t.Fatal(err)
	}
	config := filepath.Join(f.dir, "agent.json")
	if err := os.WriteFile(config, f.config(), 0o600); err != nil {
		f.t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(path, "-config", config), t: f.t, log: new(bytes.Buffer)}
	p.Stderr = p.log
	p.Env = []string{"PATH=" + os.Getenv("PATH")}
	if join {
		p.Env = append(p.Env, "OUTRIGGER_JOIN_FD=3")
		p.ExtraFiles = []*os.File{f.join()}
	}
	if err := p.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if f.t.Failed() {
			f.t.Logf("agent's log:\n%s", p.log)
		}
	})
	return p
}

// stop signals and waits; it does nothing when the agent has ended.
func (p *process) stop(sig syscall.Signal) {
	p.t.Helper()
	if p.ProcessState != nil {
		return
	}
	_ = p.Process.Signal(sig)
	if err := p.Wait(); err != nil && sig == syscall.SIGTERM {
		p.t.Errorf("agent: %v", err)
	}
}

func (f *fleet) config() []byte {
	app := f.app.Addr().(*net.TCPAddr).Port
	doc, err := json.Marshal(map[string]any{
		"name": "reviews-v1", "account": "bookinfo-reviews", "address": "127.0.0.1", "labels": "app=reviews,version=v1",
		"ports": fmt.Sprintf("http:%d:http", app), "state": filepath.Join(f.dir, "state"), "envoy": envoytest.Binary(f.t),
		"pilot": f.pilot.Address, "pilotAPI": f.api.URL, "ca": f.ca.URL, "mixer": "", "dns": f.dns, "status": f.status,
		"inbound": f.inbound.Port(), "outbound": f.outbound.Port(), "drain": "1s",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return doc
}

// join returns the agent's end of a socket with a proof in it.
func (f *fleet) join() *os.File {
	f.t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "join"), os.NewFile(uintptr(fds[1]), "join")
	f.t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	proof := map[string]string{
		"token": "t", "id": "spiffe://cluster.local/ns/default/sa/bookinfo-reviews", "bundle": f.ca.Bundle(),
	}
	if err := json.NewEncoder(ours).Encode(proof); err != nil {
		f.t.Fatal(err)
	}
	return theirs
}

// get asks the agent's status port; status 0 if it does not answer.
func (f *fleet) get(path string) (status int, body string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, "http://"+f.status.String()+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, strings.TrimSpace(string(b))
}

// wait returns when ok does; what is said on failure is what it returned last.
func (f *fleet) wait(d time.Duration, what string, ok func() (bool, string)) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), d)
	defer cancel()
	for {
		done, last := ok()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			f.t.Fatalf("no %s in time: %s", what, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (f *fleet) waitReady(path string) {
	f.t.Helper()
	f.wait(20*time.Second, path, func() (bool, string) {
		status, body := f.get(path)
		return status == http.StatusOK, body
	})
}

func (f *fleet) waitWaiting(path, want string) {
	f.t.Helper()
	f.wait(20*time.Second, "wait for "+want, func() (bool, string) {
		status, body := f.get(path)
		return status == http.StatusServiceUnavailable && strings.Contains(body, want), body
	})
}
