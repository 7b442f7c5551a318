// Package pilot takes in config, keeps the registry, and programs the proxies of the
// mesh.
package pilot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/proto/gen/openapi"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/names"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/registry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/world"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/xds"
)

// access says who may call what; what is not here is for administrators.
var access = map[string]rpc.Access{
	"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": rpc.Mesh,
	"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources":  rpc.Mesh,
	pilotv1.RegistryService_RegisterWorkload_FullMethodName:                            rpc.Mesh,
	pilotv1.RegistryService_DeregisterWorkload_FullMethodName:                          rpc.Mesh,
	pilotv1.RegistryService_WatchNames_FullMethodName:                                  rpc.Mesh,
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	p, err := cfg.parse()
	if err != nil {
		return err
	}
	tel, err := telemetry.New(cfg.Telemetry, "pilot")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if cfg.Identity.Dir == "" {
		cfg.Identity.Dir = filepath.Join(cfg.State, "identity")
	}
	own, err := cfg.Identity.Open(tel.Log)
	if err != nil {
		return err
	}
	buses, err := openBuses(cfg, p, own, tel)
	if err != nil {
		return err
	}
	mesh := world.New(p.world, tel.Log)
	table := status.NewTable()
	in, err := newIntake(cfg, p, buses, tel)
	if err != nil {
		return err
	}
	regs := registry.NewService(registry.Config{Self: cfg.Identity.ID, AnyAddress: cfg.Mesh.AnyAddress}, buses.registered, buses.registry, tel.Log)

	grpcServer, err := rpc.NewServer("pilot", cfg.Listen, own.ServerTLS(false), access, tel)
	if err != nil {
		return err
	}
	pilotv1.RegisterConfigServiceServer(grpcServer.GRPC(), in.api(status.NewWaiter(table, mesh)))
	pilotv1.RegisterRegistryServiceServer(grpcServer.GRPC(), struct {
		*registry.Service
		*names.Watcher
	}{regs, names.NewWatcher(mesh)})
	pilotv1.RegisterStatusServiceServer(grpcServer.GRPC(), status.NewService(table, mesh, status.Sources{
		Config: buses.config, Registry: buses.registry, Files: in.problems,
	}))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(grpcServer.GRPC(),
		xds.New(xds.Config{Gateways: p.gateways, Trace: cfg.Mesh.Traces}, mesh, table, tel))
	restServer, err := rest.NewServer(cfg.Listen, grpcServer, own.ServerTLS(false), tel, rest.API{
		Register: []rest.Register{
			pilotv1.RegisterConfigServiceHandler, pilotv1.RegisterRegistryServiceHandler, pilotv1.RegisterStatusServiceHandler,
		},
		OpenAPI: []byte(openapi.Pilot),
		Ready:   func() error { return ready(own, mesh, buses.config.State()) },
	})
	if err != nil {
		return err
	}

	var g run.Group
	g.Add("telemetry", tel.Run)
	g.Add("identity", own.Run)
	buses.add(&g, own)
	g.Add("world", mesh.Run)
	buses.feed(&g, mesh, in)
	in.add(&g)
	g.Add("leases", regs.Run)
	g.Add("rpc", grpcServer.Run)
	g.Add("rest", restServer.Run)
	tel.Log.Info("starting", "id", cfg.Identity.ID)
	return g.Run(ctx)
}

// ready says what pilot is waiting for.
func ready(own *identity.Source, mesh *world.World, b bus.State) error {
	switch {
	case own.Current() == nil:
		return fmt.Errorf("a certificate: %s", own.Waiting())
	case b.Refused != "":
		return errors.New("the right bus: " + b.Refused)
	case mesh.Current() == nil:
		return errors.New("the first state of the bus: " + b.Waiting)
	}
	return nil
}
