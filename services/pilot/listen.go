package pilot

import (
	"errors"
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
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

// parts is what stands behind pilot's APIs.
type parts struct {
	own   *identity.Source
	buses *buses
	mesh  *world.World
	table *status.Table
	in    *intakes
	regs  *registry.Service
}

type listeners struct {
	rpc  *rpc.Server
	rest *rest.Server
}

// listen hangs pilot's services on its two servers.
func (p parts) listen(cfg Config, set parsed, tel *telemetry.Telemetry) (listeners, error) {
	grpcServer, err := rpc.NewServer("pilot", cfg.Listen, p.own.ServerTLS(false), access, tel)
	if err != nil {
		return listeners{}, err
	}
	pilotv1.RegisterConfigServiceServer(grpcServer.GRPC(), p.in.api(status.NewWaiter(p.table, p.mesh)))
	pilotv1.RegisterRegistryServiceServer(grpcServer.GRPC(), struct {
		*registry.Service
		*names.Watcher
	}{p.regs, names.NewWatcher(p.mesh)})
	pilotv1.RegisterStatusServiceServer(grpcServer.GRPC(), status.NewService(p.table, p.mesh, status.Sources{
		Config: p.buses.config, Registry: p.buses.registry, Files: p.in.problems,
	}))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(grpcServer.GRPC(),
		xds.New(xds.Config{Gateways: set.gateways, Trace: cfg.Mesh.Traces, AnyAddress: cfg.Mesh.AnyAddress}, p.mesh, p.table, tel))
	restServer, err := rest.NewServer(cfg.Listen, grpcServer, p.own.ServerTLS(false), tel, rest.API{
		Register: []rest.Register{
			pilotv1.RegisterConfigServiceHandler, pilotv1.RegisterRegistryServiceHandler, pilotv1.RegisterStatusServiceHandler,
		},
		OpenAPI: []byte(openapi.Pilot),
		Ready:   func() error { return ready(p.own, p.mesh, p.buses.config.State()) },
	})
	if err != nil {
		return listeners{}, err
	}
	return listeners{grpcServer, restServer}, nil
}

// ready says what pilot is waiting for.
func ready(own *identity.Source, mesh *world.World, b bus.State) error {
	switch {
	case own.Current() == nil:
		return fmt.Errorf("a certificate: %s", own.Waiting())
	case b.Refused != "":
		return errors.New("the right bus: " + b.Refused)
	case mesh.Current() == nil && b.Waiting == "":
		return errors.New("the first look at the watched folders")
	case mesh.Current() == nil:
		return errors.New("the first state of the bus: " + b.Waiting)
	}
	return nil
}
