// Package mixer is the service that answers checks and takes reports by the rules of
// the mesh. In: config and registry from the bus; questions from proxies. Out: verdicts,
// and calls of adapters. It is never needed for traffic to flow: each rule says what
// happens when mixer cannot be asked.
package mixer

import (
	"context"
	"io"
	"runtime"
	"strings"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	mixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/mixer/v1"
	"github.com/outrigger-mesh/outrigger/proto/gen/openapi"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/natsbus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/stdio"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/dispatch"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/feed"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/server"
)

// Run serves until ctx ends. out and errs are where the stdio adapter writes. The share of
// processors in cfg holds for the whole process.
func Run(ctx context.Context, cfg Config, out, errs io.Writer) error {
	set, err := cfg.check()
	if err != nil {
		return err
	}
	if cfg.ProcessorShare < 1 {
		runtime.GOMAXPROCS(max(1, int(cfg.ProcessorShare*float64(runtime.GOMAXPROCS(0)))))
	}
	tel, err := telemetry.New(cfg.Telemetry, "mixer")
	if err != nil {
		return err
	}
	src, err := cfg.Identity.Open(tel.Log)
	if err != nil {
		return err
	}
	exporter := newExporter(cfg, tel.Log)
	d, err := dispatch.New(tel)
	if err != nil {
		return err
	}
	world := dispatch.NewWorld()
	srv, err := server.New(d, world, set.trusted(), tel)
	if err != nil {
		return err
	}
	conn, err := natsbus.Connect(natsbus.Config{
		Servers: cfg.Bus.Servers, TLS: src.ClientTLS(set.bus...), Name: "mixer", Reader: true,
	}, tel.Log)
	if err != nil {
		return err
	}
	defer conn.Close()
	feeds, err := follow(cfg, conn, tel, d, world, adapters(exporter, stdio.New(out, errs)))
	if err != nil {
		return err
	}
	api, err := listen(cfg, src, tel, srv, d, feeds)
	if err != nil {
		return err
	}
	var g run.Group
	g.Add("telemetry", tel.Run)
	g.Add("identity", src.Run)
	g.Add("prometheus adapter", exporter.Run)
	g.Add("dispatch", d.Run)
	g.Add("config", feeds.config.Run)
	g.Add("registry", feeds.registry.Run)
	g.Add("rpc", api.rpc.Run)
	g.Add("rest", api.rest.Run)
	return g.Run(ctx)
}

type feeds struct{ config, registry *feed.Reader }

// follow reads both buckets; each has its last known good on disk.
func follow(cfg Config, conn *natsbus.Conn, tel *telemetry.Telemetry, d *dispatch.Dispatcher, world *dispatch.World, infos []adapter.Info) (feeds, error) {
	open := func(name string) (*bus.Bucket, error) {
		store, err := conn.Store(name)
		if err != nil {
			return nil, err
		}
		return bus.Open(bus.Config{Name: name, Keep: bus.Keep{Dir: cfg.Bus.Keep}}, store, nil, tel.Log), nil
	}
	config, err := open("config")
	if err != nil {
		return feeds{}, err
	}
	names, err := open("registry")
	if err != nil {
		return feeds{}, err
	}
	return feeds{
		config: feed.New(config, tel.Log, func(ctx context.Context, objects []*configv1.Object, revision uint64) {
			p := plan.Build(plan.Input{Objects: objects, Adapters: infos, Root: cfg.Policy.RootNamespaces, Revision: revision})
			for _, problem := range p.Problems {
				tel.Log.Warn("an object does not act", "problem", problem)
			}
			if err := d.Swap(ctx, p); err != nil && ctx.Err() == nil {
				tel.Log.Error("the plan was not swapped", "error", err)
			}
		}),
		registry: feed.New(names, tel.Log, func(_ context.Context, objects []*configv1.Object, revision uint64) {
			world.Set(registry.Build(objects, cfg.Policy.Domain, revision).After(world.Snapshot()))
		}),
	}, nil
}

type listeners struct {
	rpc  *rpc.Server
	rest *rest.Server
}

func listen(cfg Config, src *identity.Source, tel *telemetry.Telemetry, srv *server.Server, d *dispatch.Dispatcher, f feeds) (listeners, error) {
	tls := src.ServerTLS(false)
	ports := cfg.Listen
	ports.MaxRequest = server.MaxRequest
	s, err := rpc.NewServer("mixer", ports, tls, server.Access(), tel)
	if err != nil {
		return listeners{}, err
	}
	srv.Register(s.GRPC(), d)
	h, err := rest.NewServer(ports, s, tls, tel, rest.API{
		Register: []rest.Register{mixerv1.RegisterAdminServiceHandler},
		OpenAPI:  []byte(openapi.Mixer),
		Ready:    func() error { return ready(src, f) },
	})
	if err != nil {
		return listeners{}, err
	}
	return listeners{s, h}, nil
}

// ready: mixer answers once it shows a certificate and has read both buckets, from the
// bus or from its last known good.
func ready(src *identity.Source, f feeds) error {
	var waiting []string
	for name, w := range map[string]string{
		"config": f.config.Waiting(), "registry": f.registry.Waiting(), "identity": certificate(src),
	} {
		if w != "" {
			waiting = append(waiting, name+": "+w)
		}
	}
	if len(waiting) > 0 {
		return fault.Unavailable.Errorf("waiting for %s", strings.Join(waiting, "; "))
	}
	return nil
}

func certificate(src *identity.Source) string {
	if src.Current() == nil {
		return src.Waiting()
	}
	return ""
}
