// Package gateway is a service that runs an edge Envoy: it gets the gateway's
// certificate and gives it to Envoy over SDS, keeps Envoy running and takes it over
// after a restart of its own, and serves status and drain as gRPC and REST. In: a
// Config, and the role that the service plays. Out: a gateway that pilot programs, and
// its entry in pilot's registry. It knows no routes: those are between pilot and Envoy.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
	"github.com/outrigger-mesh/outrigger/proto/gen/openapi"
)

// Run runs a gateway of that role, which is also the service's name, until ctx ends;
// then it drains and stops Envoy. Errors before it serves: settings that are wrong, a
// folder or an Envoy that cannot be used.
func Run(ctx context.Context, role envoy.Role, cfg Config) error {
	set, err := cfg.check(role)
	if err != nil {
		return err
	}
	tel, err := telemetry.New(cfg.Telemetry, string(role))
	if err != nil {
		return err
	}
	source, err := cfg.Identity.Open(tel.Log)
	if err != nil {
		return err
	}
	proxy, err := newProxy(cfg, set, source, tel.Log)
	if err != nil {
		return err
	}
	if err := measure(tel.Meter, proxy); err != nil {
		return err
	}
	tls := source.ServerTLS(false)
	grpc, err := rpc.NewServer(string(role), cfg.Listen, tls, nil, tel) // every method is for administrators
	if err != nil {
		return err
	}
	gatewayv1.RegisterGatewayServiceServer(grpc.GRPC(), &server{proxy: proxy})
	web, err := rest.NewServer(cfg.Listen, grpc, tls, tel, rest.API{
		Register: []rest.Register{gatewayv1.RegisterGatewayServiceHandler}, OpenAPI: []byte(openapi.Gateway), Ready: proxy.ready,
	})
	if err != nil {
		return err
	}
	var g run.Group
	g.Add("telemetry", tel.Run)
	g.Add("identity", source.Run)
	g.Add("sds", proxy.sds.Run)
	g.Add("grpc", grpc.Run)
	g.Add("rest", web.Run)
	g.Add("registration", newRegistration(set, proxy, tel.Log).run)
	g.Add("envoy", proxy.run)
	g.Add("watch", proxy.watch.Run)
	return g.Run(ctx)
}

// proxy is the gateway's Envoy with what it needs from us.
type proxy struct {
	source   *identity.Source
	sds      *envoy.SDS
	admin    *envoy.Admin
	process  *envoy.Process
	watch    *envoy.Watch
	draining atomic.Bool
	turned   chan struct{} // capacity 1: "draining is not as it was"
}

func newProxy(cfg Config, set checked, source *identity.Source, log *slog.Logger) (*proxy, error) {
	doc, err := envoy.Bootstrap(set.bootstrap)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Envoy.State, 0o700); err != nil {
		return nil, fmt.Errorf("envoy.state: %w", err)
	}
	sds, err := envoy.ListenSDS(set.bootstrap.SDSSocket, source, log)
	if err != nil {
		return nil, err
	}
	node := set.bootstrap.Node
	p := &proxy{source: source, sds: sds, admin: envoy.NewAdmin(set.bootstrap.AdminSocket), turned: make(chan struct{}, 1)}
	p.process = envoy.NewProcess(envoy.ProcessConfig{
		Binary: cfg.Envoy.Binary, Dir: cfg.Envoy.State, NodeID: node.ID(), Bootstrap: doc,
		Concurrency: cfg.Envoy.Concurrency, LogLevel: cfg.Envoy.LogLevel,
		DrainTime: cfg.Envoy.Drain, StopTime: cfg.Envoy.Stop,
	}, p.admin, log)
	p.watch = envoy.NewWatch(p.admin, p.process, envoy.Wanted{
		NodeID: node.ID(), Identity: set.own.String(), Listeners: []netip.AddrPort{node.Listen},
	}, log)
	return p, nil
}

// run starts Envoy when there is a certificate: without one it could reach nobody. At
// the end it drains Envoy, and says so, and stops it.
func (p *proxy) run(ctx context.Context) error {
	if _, err := p.source.Wait(ctx); err != nil {
		return nil //nolint:nilerr // stopped before there was one
	}
	stop := context.AfterFunc(ctx, func() { p.drains(true) })
	defer stop()
	return p.process.Run(ctx)
}

// drains notes whether the gateway drains from now on, tells the registration at once,
// and returns whether it did before.
func (p *proxy) drains(now bool) (before bool) {
	before = p.draining.Swap(now)
	select {
	case p.turned <- struct{}{}:
	default: // it has been told to look, and will see this too
	}
	return before
}

// state returns what Envoy said last, and what the gateway waits for, "" for nothing.
func (p *proxy) state() (envoy.State, string) {
	if p.source.Current() == nil {
		return envoy.State{}, "certificate: " + p.source.Waiting()
	}
	s, waiting := p.watch.State()
	if p.draining.Load() {
		waiting = "nothing: it drains"
	}
	return s, waiting
}

func (p *proxy) ready() error {
	if _, waiting := p.state(); waiting != "" {
		return errors.New(waiting)
	}
	return nil
}
