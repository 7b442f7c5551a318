package pilot

import (
	"context"
	"path/filepath"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/natsbus"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/natsd"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/registry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/world"
)

// buses are the two buckets, what was last read from them, and the server inside, if
// there is one.
type buses struct {
	server              *natsd.Server // nil with servers elsewhere
	conn                *natsbus.Conn
	config, registry    *bus.Bucket
	written, registered *registry.Store
	mirror              *registry.Mirror
}

func openBuses(cfg Config, p parsed, own *identity.Source, tel *telemetry.Telemetry) (*buses, error) {
	b := &buses{written: registry.NewStore(), registered: registry.NewStore()}
	servers, serverID := cfg.Bus.Servers, p.busID
	if len(servers) == 0 {
		var err error
		servers, serverID = []string{cfg.Bus.Listen}, p.identity.ID
		if b.server, err = natsd.New(natsd.Config{
			Listen: cfg.Bus.Listen, StoreDir: filepath.Join(cfg.State, "bus"), TLS: own.ServerTLS(true),
			Access: natsd.Access{Buckets: []string{"config", "registry"}, Writers: []spiffe.ID{p.identity.ID}, Readers: p.readers},
		}, tel.Log); err != nil {
			return nil, err
		}
	}
	conn, err := natsbus.Connect(natsbus.Config{
		Servers: servers, TLS: own.ClientTLS(serverID), Name: "pilot", Replicas: cfg.Bus.Replicas,
	}, tel.Log)
	if err != nil {
		return nil, err
	}
	b.conn = conn
	keep := bus.Keep{Dir: filepath.Join(cfg.State, "keep")}
	config, err := b.conn.Store("config")
	if err != nil {
		return nil, err
	}
	registered, err := b.conn.Store("registry")
	if err != nil {
		return nil, err
	}
	b.config = bus.Open(bus.Config{Name: "config", Keep: keep}, config, config, tel.Log)
	b.registry = bus.Open(bus.Config{Name: "registry", Keep: keep}, registered, registered, tel.Log)
	b.mirror = registry.NewMirror(b.written, b.registered, b.registry, p.addresses, cfg.Identity.ID, tel.Log)
	return b, nil
}

// add runs the server inside and closes the connection at the end.
func (b *buses) add(g *run.Group, own *identity.Source) {
	if b.server != nil {
		g.Add("nats", func(ctx context.Context) error {
			// Without a certificate it could let nobody in.
			if _, err := own.Wait(ctx); err != nil {
				return nil //nolint:nilerr // ctx ended
			}
			return b.server.Run(ctx)
		})
	}
	g.Add("connection", func(ctx context.Context) error {
		<-ctx.Done()
		b.conn.Close()
		return nil
	})
}

// feed runs the readers; each change goes to all who follow the bucket.
func (b *buses) feed(g *run.Group, mesh *world.World, in *intakes) {
	g.Add("config", func(ctx context.Context) error {
		return b.config.Run(ctx, func(c bus.Change) {
			in.desk.Config(c)
			b.written.Take(c)
			mesh.Config(ctx, c)
		})
	})
	g.Add("registry", func(ctx context.Context) error {
		return b.registry.Run(ctx, func(c bus.Change) {
			in.desk.Registry(c)
			b.registered.Take(c)
			mesh.Registry(ctx, c)
		})
	})
	g.Add("mirror", func(ctx context.Context) error {
		return b.mirror.Run(ctx, func(why map[bus.Key]string) { mesh.Stuck(ctx, why) })
	})
}
