// Package pilot takes in config, keeps the registry, and programs the proxies of the
// mesh.
package pilot

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/registry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/world"
)

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
	in := newIntake(cfg, p, buses, tel)
	p.world.Start = in.folders.Looked
	mesh := world.New(p.world, tel.Log)
	table := status.NewTable()
	regs := registry.NewService(registry.Config{
		Self: cfg.Identity.ID, AnyAddress: cfg.Mesh.AnyAddress, Gateways: slices.Collect(maps.Values(p.gateways)),
	}, buses.registered, buses.registry, tel.Log)
	api, err := parts{own, buses, mesh, table, in, regs}.listen(cfg, p, tel)
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
	g.Add("rpc", api.rpc.Run)
	g.Add("rest", api.rest.Run)
	tel.Log.Info("starting", "id", cfg.Identity.ID)
	return g.Run(ctx)
}
