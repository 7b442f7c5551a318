package agent_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/envoy/envoytest"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// fleet is what surrounds one sidecar: an authority, pilot with both of its APIs, and
// the application.
type fleet struct {
	t        *testing.T
	dir      string
	ca       *identitytest.Authority
	id       spiffe.ID // of the workload
	binary   string
	pilot    *envoytest.Pilot
	registry *registry
	api      *server
	app      net.Listener
	health   string // path of the application, "" for none
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
	f.id = must(spiffe.Parse("spiffe://cluster.local/ns/default/sa/bookinfo-reviews"))
	pilot := f.ca.Source("outrigger-system", "pilot").ServerTLS(true)
	f.pilot = envoytest.NewPilot(t, pilot.Clone()) // each server writes into its own
	f.api = serve(t, f.registry, pilot)
	f.app = must(net.Listen("tcp", "127.0.0.1:0"))
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

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // only what cannot fail in a test gets here
	}
	return v
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

// start runs the agent; with join, a token is handed to it.
func (f *fleet) start(join bool) *envoytest.Program {
	f.t.Helper()
	if f.binary == "" {
		f.binary = envoytest.Build(f.t, "./cmd/sidecar-agent")
	}
	config := filepath.Join(f.dir, "agent.json")
	if err := os.WriteFile(config, f.config(), 0o600); err != nil {
		f.t.Fatal(err)
	}
	var prover identity.Prover
	if join {
		prover = f.ca.Prover(f.id)
	}
	return envoytest.Start(f.t, prover, f.binary, "-config", config)
}

func (f *fleet) config() []byte {
	app := f.app.Addr().(*net.TCPAddr).Port
	doc, err := json.Marshal(map[string]any{
		"name": "reviews-v1", "account": "bookinfo-reviews", "address": "127.0.0.1", "labels": "app=reviews,version=v1",
		"ports": fmt.Sprintf("http:%d:http", app), "state": filepath.Join(f.dir, "state"), "envoy": envoytest.Binary(f.t),
		"pilot": f.pilot.Address, "pilotAPI": f.api.URL, "ca": f.ca.URL, "mixer": "", "dns": f.dns, "status": f.status,
		"health": f.health, "inbound": f.inbound.Port(), "outbound": f.outbound.Port(), "drain": "1s",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return doc
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

func (f *fleet) waitReady(path string) {
	f.t.Helper()
	envoytest.Wait(f.t, 20*time.Second, path, func() (bool, string) {
		status, body := f.get(path)
		return status == http.StatusOK, body
	})
}

func (f *fleet) waitWaiting(path, want string) {
	f.t.Helper()
	envoytest.Wait(f.t, 20*time.Second, "wait for "+want, func() (bool, string) {
		status, body := f.get(path)
		return status == http.StatusServiceUnavailable && strings.Contains(body, want), body
	})
}
