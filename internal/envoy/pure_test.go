package envoy

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/envoy/envoytest"
	"github.com/outrigger-mesh/outrigger/internal/envoy/internal/xdswire"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

var update = flag.Bool("update", false, "rewrite the files under testdata")

func mustID(t *testing.T, s string) spiffe.ID {
	t.Helper()
	id, err := spiffe.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func configs(t *testing.T) map[string]BootstrapConfig {
	pilot := Upstream{netip.MustParseAddrPort("10.77.0.1:15010"), mustID(t, "spiffe://cluster.local/ns/outrigger-system/sa/pilot")}
	return map[string]BootstrapConfig{
		"ingress": {
			Node: Node{
				Role: Ingress, Address: netip.MustParseAddr("10.77.0.1"), Workload: "ingress", Namespace: "outrigger-system",
				Account: "ingress", Domain: "cluster.local", Listen: netip.MustParseAddrPort("10.77.0.1:8080"), Region: "r", Zone: "z",
			},
			AdminSocket: "/run/ingress/admin.sock", SDSSocket: "/run/ingress/sds.sock",
			Pilot: pilot,
			Mixer: Upstream{netip.MustParseAddrPort("10.77.0.1:15030"), mustID(t, "spiffe://cluster.local/ns/outrigger-system/sa/mixer")},
			OTLP:  netip.MustParseAddrPort("10.77.0.1:4317"),
		},
		"sidecar": {
			Node: Node{
				Role: Sidecar, Address: netip.MustParseAddr("10.77.1.7"), Workload: "reviews-v1", Namespace: "default",
				Account: "bookinfo-reviews", Domain: "cluster.local", Labels: map[string]string{"app": "reviews", "version": "v1"},
			},
			AdminSocket: "/run/reviews/admin.sock", SDSSocket: "/run/reviews/sds.sock",
			Pilot: pilot, StateOfTheWorld: true, Mark: 0x539, MaxConnections: 500,
		},
	}
}

func TestBootstrapIsWhatEnvoyTakes(t *testing.T) {
	for name, c := range configs(t) {
		got, err := Bootstrap(c)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("%s (-want +got; -update rewrites):\n%s", file, d)
		}
		out, err := exec.CommandContext(t.Context(), envoytest.Binary(t), "--mode", "validate", "-c", file).CombinedOutput()
		if err != nil || strings.Contains(string(out), "[warning]") {
			t.Errorf("Envoy on %s: %v\n%s", file, err, out)
		}
	}
}

func TestBootstrapRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*BootstrapConfig){
		"no address":        func(c *BootstrapConfig) { c.Node.Address = netip.Addr{} },
		"role \"\"":         func(c *BootstrapConfig) { c.Node.Role = "" },
		"workload \"a~b\"":  func(c *BootstrapConfig) { c.Node.Workload = "a~b" },
		"namespace \"a.b\"": func(c *BootstrapConfig) { c.Node.Namespace = "a.b" },
		"no listen address": func(c *BootstrapConfig) { c.Node.Listen = netip.AddrPort{} },
		"shorter state folder": func(c *BootstrapConfig) {
			c.AdminSocket = "/" + strings.Repeat("x", 200)
		},
		"want an absolute path":    func(c *BootstrapConfig) { c.SDSSocket = "sds.sock" },
		"pilot: want an address":   func(c *BootstrapConfig) { c.Pilot = Upstream{} },
		"address without identity": func(c *BootstrapConfig) { c.Mixer.ID = spiffe.ID{} },
	} {
		c := configs(t)["ingress"]
		spoil(&c)
		if _, err := Bootstrap(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}

func TestWaiting(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	listen := netip.MustParseAddrPort("10.77.0.1:8080")
	want := Wanted{NodeID: "n", Identity: "spiffe://cluster.local/ns/a/sa/b", Listeners: []netip.AddrPort{listen}}
	ready := func() State {
		return State{
			Info: Info{State: "LIVE", NodeID: "n"}, LDS: 4, CDS: 3,
			Listeners:    []Listener{{"l", listen}},
			Certificates: []LoadedCertificate{{Serial: "1", URIs: []string{want.Identity}, NotAfter: now.Add(time.Hour)}},
		}
	}
	for name, c := range map[string]struct {
		spoil func(*State)
		want  string
	}{
		"ready":          {func(*State) {}, ""},
		"any address":    {func(s *State) { s.Listeners[0].Address = netip.MustParseAddrPort("0.0.0.0:8080") }, ""},
		"other node":     {func(s *State) { s.NodeID = "m" }, `Envoy: another one ("m") answers on the admin socket`},
		"no clusters":    {func(s *State) { s.CDS = 0 }, "Envoy: clusters from pilot"},
		"no listeners":   {func(s *State) { s.LDS = 0 }, "Envoy: listeners from pilot"},
		"starting":       {func(s *State) { s.Info.State = "INITIALIZING" }, "Envoy: it says INITIALIZING"},
		"no certificate": {func(s *State) { s.Certificates = nil }, "Envoy: a valid certificate of " + want.Identity},
		"somebody else's": {func(s *State) { s.Certificates[0].URIs[0] = "spiffe://x/ns/a/sa/b" },
			"Envoy: a valid certificate of " + want.Identity},
		"expired": {func(s *State) { s.Certificates[0].NotAfter = now }, "Envoy: a valid certificate of " + want.Identity},
		"warming": {func(s *State) { s.Listeners, s.Warming = nil, 1 }, "Envoy: a listener on 10.77.0.1:8080 (1 warming)"},
		"other port": {func(s *State) { s.Listeners[0].Address = netip.MustParseAddrPort("10.77.0.1:80") },
			"Envoy: a listener on 10.77.0.1:8080 (0 warming)"},
	} {
		s := ready()
		c.spoil(&s)
		if got := want.Waiting(s, now); got != c.want {
			t.Errorf("%s: waiting for %q, want %q", name, got, c.want)
		}
	}
	if got := ready().Acknowledged(); got != 3 {
		t.Errorf("acknowledged %d, want 3", got)
	}
}

func TestSubscription(t *testing.T) {
	ca := identitytest.New(t, "cluster.local")
	first, second := ca.Source("default", "reviews").Current(), ca.Source("default", "reviews").Current()
	type step struct {
		request *xdswire.Request
		current *identity.Certificate
		want    []string // "name" sent, "-name" removed
	}
	ask := func(names ...string) *xdswire.Request { return &xdswire.Request{Names: names} }
	for name, c := range map[string]struct {
		delta bool
		steps []step
	}{
		"state of the world": {false, []step{
			{ask("default"), nil, nil},
			{nil, first, []string{"default"}},
			{&xdswire.Request{Names: []string{"default"}, Nonce: "1"}, first, nil},
			{ask("default", "ROOTCA"), first, []string{"default", "ROOTCA"}},
			{nil, second, []string{"default", "ROOTCA"}},
			{&xdswire.Request{Names: []string{"default", "ROOTCA"}, Nonce: "3", IsRefusal: true}, second, nil},
			{ask("ROOTCA"), second, nil},
			{nil, first, nil},
			{ask("other"), first, nil},
		}},
		"delta": {true, []step{
			{ask("default", "other"), first, []string{"default", "-other"}},
			{&xdswire.Request{Nonce: "1"}, first, nil},
			{ask("ROOTCA"), first, []string{"ROOTCA"}},
			{nil, second, []string{"default"}}, // the roots are the same
			{&xdswire.Request{Nonce: "3", IsRefusal: true}, second, nil},
			{ask("default"), second, []string{"default"}},
			{&xdswire.Request{Unsubscribe: []string{"default"}}, first, nil},
		}},
	} {
		sub := subscription{delta: c.delta, sent: map[string]string{}}
		for i, s := range c.steps {
			if s.request != nil {
				if _, ok := sub.request(*s.request); ok == s.request.IsRefusal {
					t.Errorf("%s, step %d: taken as refusal: %v", name, i, !ok)
				}
			}
			res, due := sub.next(s.current)
			var got []string
			for _, r := range res.Resources {
				got = append(got, r.Name)
			}
			for _, r := range res.Removed {
				got = append(got, "-"+r)
			}
			if d := cmp.Diff(s.want, got); d != "" || due != (len(s.want) > 0) {
				t.Errorf("%s, step %d: due %v (-want +got):\n%s", name, i, due, d)
			}
		}
	}
}
