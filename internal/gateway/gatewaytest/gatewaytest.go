// Package gatewaytest is the suite that every gateway service passes: its real program
// with a real Envoy, an authority and a pilot that are fakes. In: the package of the
// program and its role.
package gatewaytest

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/envoy/envoytest"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
)

const system = "outrigger-system"

// Run runs the suite on the program built from pkg, "./cmd/<service>".
func Run(t *testing.T, pkg string, role envoy.Role) {
	binary := envoytest.Build(t, pkg)
	for name, test := range map[string]func(*testing.T, *gateway){
		"ready when Envoy has config, then drained": readyThenDrained,
		"only administrators may ask":               administrators,
		"killed and started again":                  killed,
		"others know whose requests these are":      registered,
		"the registry knows how it is":              keptInTheRegistry,
	} {
		t.Run(name, func(t *testing.T) { test(t, newGateway(t, binary, role)) })
	}
}

// gateway is one service with what surrounds it.
type gateway struct {
	t       *testing.T
	role    envoy.Role
	binary  string
	dir     string
	ca      *identitytest.Authority
	pilot   *envoytest.Pilot
	entries *registry
	listen  netip.AddrPort
	grpc    netip.AddrPort
	ops     netip.AddrPort
	sockets string
}

func newGateway(t *testing.T, binary string, role envoy.Role) *gateway {
	g := &gateway{
		t: t, role: role, binary: binary, dir: envoytest.Dir(t), ca: identitytest.New(t, "cluster.local"),
		listen: envoytest.FreePort(t), grpc: envoytest.FreePort(t), ops: envoytest.FreePort(t),
	}
	g.pilot = envoytest.NewPilot(t, g.ca.Source(system, "pilot").ServerTLS(true))
	g.entries = newRegistry(g.pilot)
	g.ca.Life = 6 * time.Second
	g.sockets = filepath.Join(g.dir, "run")
	if err := os.Mkdir(g.sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gateway) world(revision uint64) envoytest.World {
	return envoytest.World{
		Revision:  revision,
		Listeners: []envoytest.Resource{envoytest.HTTPListener("gateway", g.listen, "hello")},
		Clusters:  []envoytest.Resource{envoytest.StaticCluster("away", g.listen)},
	}
}

// start runs the program; with first, it is given a join token.
func (g *gateway) start(first bool) *envoytest.Program {
	g.t.Helper()
	id := func(account string) string { return "spiffe://cluster.local/ns/" + system + "/sa/" + account }
	type object = map[string]any
	doc, err := yaml.Marshal(object{
		"listen": object{"grpc": g.grpc.String(), "rest": "", "ops": g.ops.String(), "sockets": g.sockets, "admins": []string{id("admin")}},
		"identity": object{
			"id": id(string(g.role)), "authority": g.ca.URL, "authorityID": g.ca.ID.String(), "dir": filepath.Join(g.dir, "identity"),
		},
		"envoy": object{
			"binary": envoytest.Binary(g.t), "state": g.state(), "listen": g.listen.String(), "drain": "2s", "concurrency": 1,
		},
		"pilot": object{"address": g.pilot.Address.String(), "id": id("pilot")},
		"mixer": object{"address": ""},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	file := filepath.Join(g.dir, "config.yaml")
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		g.t.Fatal(err)
	}
	var prover identity.Prover
	if first {
		prover = g.ca.Prover(g.ca.Source(system, string(g.role)).Current().ID)
	}
	return envoytest.Start(g.t, prover, g.binary, "--config", file)
}

func (g *gateway) state() string { return filepath.Join(g.dir, "envoy") }

func readyThenDrained(t *testing.T, g *gateway) {
	program := g.start(true)
	g.waits("Envoy: clusters from pilot")
	g.pilot.Set(g.world(5))
	g.waits("")
	want := string(g.role) + "~127.0.0.1~" + string(g.role) + "." + system + "~cluster.local"
	if got := g.pilot.Nodes(); !slices.Equal(got, []string{want}) {
		t.Errorf("pilot saw nodes %q, want %q", got, want)
	}
	if got := g.get("http://" + g.listen.String()); got != "200 hello" {
		t.Errorf("through the gateway: %q", got)
	}
	client := g.local()
	s, err := client.GetStatus(t.Context(), &gatewayv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Ready || s.EnvoyState != "LIVE" || s.EnvoyVersion != "1.40.0" || s.AcknowledgedRevision != 5 ||
		!slices.Equal(s.Listeners, []string{"gateway " + g.listen.String()}) || !s.CertificateNotAfter.IsValid() {
		t.Errorf("status: %v", s)
	}
	metrics := g.get("http://" + g.ops.String() + "/metrics")
	for _, name := range []string{"outrigger_gateway_ready", "outrigger_gateway_envoy_up", "outrigger_gateway_certificate_expiry"} {
		if !strings.Contains(metrics, name) {
			t.Errorf("no metric %s", name)
		}
	}
	if _, err := client.Drain(t.Context(), &gatewayv1.DrainRequest{}); err != nil {
		t.Fatal(err)
	}
	g.waits("nothing: it drains")
	pid := g.envoyPID()
	program.Stop(syscall.SIGTERM)
	if pid == 0 || syscall.Kill(pid, 0) == nil {
		t.Errorf("Envoy %d is there after the end", pid)
	}
}

func administrators(t *testing.T, g *gateway) {
	g.start(true)
	for account, want := range map[string]codes.Code{"admin": codes.OK, "pilot": codes.PermissionDenied} {
		source := g.ca.Source(system, account)
		own := g.ca.Source(system, string(g.role)).Current().ID
		conn, err := rpc.Dial(g.grpc.String(), source.ClientTLS(own))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = gatewayv1.NewGatewayServiceClient(conn).GetStatus(t.Context(), &gatewayv1.GetStatusRequest{}, grpc.WaitForReady(true))
		if got := status.Code(err); got != want {
			t.Errorf("%s asks: %v (%v), want %v", account, got, err, want)
		}
	}
}

func killed(t *testing.T, g *gateway) {
	program := g.start(true)
	g.pilot.Set(g.world(1))
	g.waits("")
	pid, first := g.envoyPID(), g.serials()
	program.Stop(syscall.SIGKILL)
	if got := g.get("http://" + g.listen.String()); got != "200 hello" {
		t.Errorf("while the supervisor is dead: %q", got)
	}
	g.start(false)
	g.waits("")
	if now := g.envoyPID(); now != pid {
		t.Errorf("Envoy is process %d after the restart, want %d as before", now, pid)
	}
	envoytest.Wait(t, 10*time.Second, "renewed certificate in Envoy", func() (bool, string) {
		now := g.serials()
		return len(now) == 1 && !slices.Equal(now, first), fmt.Sprint(first, now)
	})
	g.pilot.Set(g.world(2))
	g.pilot.WaitAcknowledged(t.Context(), 2)
}

// waits returns when /readyz says that the gateway waits for text, "" for ready.
func (g *gateway) waits(text string) {
	g.t.Helper()
	envoytest.Wait(g.t, 20*time.Second, "readiness "+text, func() (bool, string) {
		got := g.get("http://" + g.ops.String() + "/readyz")
		if text == "" {
			return strings.HasPrefix(got, "200 "), got
		}
		return strings.HasPrefix(got, "503 ") && strings.Contains(got, text), got
	})
}

// get returns "<status> <body>", or the error as text.
func (g *gateway) get(url string) string {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}

func (g *gateway) local() gatewayv1.GatewayServiceClient {
	g.t.Helper()
	conn, err := rpc.DialSocket(filepath.Join(g.sockets, string(g.role)+".grpc.sock"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return gatewayv1.NewGatewayServiceClient(conn)
}

func (g *gateway) admin() *envoy.Admin { return envoy.NewAdmin(envoy.AdminSocket(g.state())) }

// envoyPID returns Envoy's process id, 0 if it does not answer.
func (g *gateway) envoyPID() int {
	pid, err := g.admin().Process(g.t.Context())
	if err != nil {
		return 0
	}
	return pid
}

func (g *gateway) serials() []string {
	g.t.Helper()
	certs, err := g.admin().Certificates(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	var out []string
	for _, c := range certs {
		out = append(out, c.Serial)
	}
	return out
}
