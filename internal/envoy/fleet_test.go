package envoy_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/envoy/envoytest"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// secrets is a source whose certificate the test sets.
type secrets struct {
	mu      sync.Mutex
	current *identity.Certificate
	changed chan struct{}
}

func newSecrets(c *identity.Certificate) *secrets {
	return &secrets{current: c, changed: make(chan struct{})}
}

func (s *secrets) Current() *identity.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *secrets) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *secrets) set(c *identity.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = c
	close(s.changed)
	s.changed = make(chan struct{})
}

func id(t testing.TB, account string) spiffe.ID {
	t.Helper()
	id, err := spiffe.New("cluster.local", "outrigger-system", account)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// proxy is one real Envoy with everything around it.
type proxy struct {
	t       *testing.T
	dir     string
	ca      *identitytest.Authority
	pilot   *envoytest.Pilot
	secrets *secrets
	listen  netip.AddrPort
	config  envoy.BootstrapConfig
	sdsAPI  string // other than GRPC
	admin   *envoy.Admin
	process *envoy.Process
	watch   *envoy.Watch
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{t: t, dir: envoytest.Dir(t), ca: identitytest.New(t, "cluster.local"), listen: envoytest.FreePort(t)}
	p.pilot = envoytest.NewPilot(t, p.ca.Source("outrigger-system", "pilot").ServerTLS(true))
	p.secrets = newSecrets(p.issue())
	p.config = envoy.BootstrapConfig{
		Node: envoy.Node{
			Role: envoy.Ingress, Address: p.listen.Addr(), Workload: "ingress", Namespace: "outrigger-system",
			Account: "ingress", Domain: "cluster.local", Listen: p.listen,
		},
		AdminSocket: envoy.AdminSocket(p.dir), SDSSocket: filepath.Join(p.dir, "sds.sock"),
		Pilot: envoy.Upstream{Address: p.pilot.Address, ID: id(t, "pilot")},
	}
	return p
}

// issue returns a certificate of the proxy's that nobody had before.
func (p *proxy) issue() *identity.Certificate {
	return p.ca.Source("outrigger-system", "ingress").Current()
}

func (p *proxy) world(revision uint64) envoytest.World {
	return envoytest.World{
		Revision:  revision,
		Listeners: []envoytest.Resource{envoytest.HTTPListener("gateway", p.listen, "hello")},
		Clusters:  []envoytest.Resource{envoytest.StaticCluster("away", envoytest.FreePort(p.t))},
	}
}

// build makes the parts; the group's end drains and stops Envoy.
func (p *proxy) build(drain time.Duration) *run.Group {
	p.t.Helper()
	bootstrap, err := envoy.Bootstrap(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.sdsAPI != "" {
		bootstrap = bytes.ReplaceAll(bootstrap, []byte(`"GRPC"`), []byte(`"`+p.sdsAPI+`"`))
	}
	log := slog.New(slog.DiscardHandler)
	sds, err := envoy.ListenSDS(p.config.SDSSocket, p.secrets, log)
	if err != nil {
		p.t.Fatal(err)
	}
	p.admin = envoy.NewAdmin(p.config.AdminSocket)
	p.process = envoy.NewProcess(envoy.ProcessConfig{
		Binary: envoytest.Binary(p.t), Dir: p.dir, NodeID: p.config.Node.ID(), Bootstrap: bootstrap,
		DrainTime: drain, StopTime: 5 * time.Second,
	}, p.admin, log)
	p.watch = envoy.NewWatch(p.admin, p.process, envoy.Wanted{
		NodeID: p.config.Node.ID(), Identity: id(p.t, "ingress").String(), Listeners: []netip.AddrPort{p.listen},
	}, log)
	g := new(run.Group)
	g.Add("sds", sds.Run)
	g.Add("process", p.process.Run)
	g.Add("watch", p.watch.Run)
	return g
}

// run starts the parts and returns what stops them and waits.
func (p *proxy) run(drain time.Duration) (stop func()) {
	p.t.Helper()
	g := p.build(drain)
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("run: %v", err)
		}
	})
	p.t.Cleanup(stop)
	return stop
}

// wait returns when the watch says text about readiness, "" for ready.
func (p *proxy) wait(text string) envoy.State {
	p.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		changed := p.watch.Changed()
		s, waiting := p.watch.State()
		if waiting == text {
			return s
		}
		select {
		case <-changed:
		case <-timeout:
			p.t.Fatalf("waiting for %q, want %q; state %+v", waiting, text, s)
		}
	}
}

// known returns when the watch knows of Envoy, and fails if ok does not take what it
// says then.
func (p *proxy) known(ok func(waiting string) bool) {
	p.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		changed := p.watch.Changed()
		if p.watch.Known() {
			if _, waiting := p.watch.State(); !ok(waiting) {
				p.t.Errorf("known of Envoy: %q", waiting)
			}
			return
		}
		select {
		case <-changed:
		case <-timeout:
			p.t.Fatal("nothing is known of Envoy")
		}
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// state asks Envoy now; the zero State if it does not answer yet.
func (p *proxy) state() envoy.State {
	s, err := p.admin.State(p.t.Context())
	if err != nil {
		return envoy.State{}
	}
	return s
}

func (p *proxy) waiting() string {
	_, waiting := p.watch.State()
	return waiting
}
