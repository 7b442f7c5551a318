package measure

import (
	"context"
	"errors"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// warmStart is what a second start may take, in seconds.
const warmStart = 15

// whole measures the fleet as it is: its starts, and in the last one that is started
// changes and memory.
func (b *bench) whole(ctx context.Context) ([]figure.Row, error) {
	var cold, warm []float64
	runs := 1
	if b.Starts {
		runs = b.Runs
	}
	var rows []figure.Row
	for run := range runs {
		last := run == runs-1
		err := b.with(ctx, mesh.Config{Root: b.Root, Fleet: b.shortLived}, func(ctx context.Context, m *mesh.Mesh) error {
			cold = append(cold, time.Since(b.started).Seconds())
			var err error
			if b.Starts {
				var took float64
				took, err = b.again(ctx, m)
				warm = append(warm, took)
				b.say("starts, run %d of %d: %.1f s from nothing, %.1f s from what was kept", run+1, runs, cold[run], took)
			}
			if err == nil && last {
				rows, err = b.running(ctx, m)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if b.Starts {
		rows = append([]figure.Row{
			{Goal: "start from nothing", Unit: figure.Seconds, Measured: cold},
			{Goal: "start from what was kept", Unit: figure.Seconds, Measured: warm, Target: figure.Target{Most: warmStart}},
		}, rows...)
	}
	return rows, nil
}

// again stops a mesh and starts it, and returns the seconds that the start took.
func (b *bench) again(ctx context.Context, m *mesh.Mesh) (float64, error) {
	if err := m.Stop(); err != nil {
		return 0, err
	}
	b.started = time.Now()
	err := m.Start(ctx)
	return time.Since(b.started).Seconds(), err
}

// running measures a mesh that has just been started.
func (b *bench) running(ctx context.Context, m *mesh.Mesh) ([]figure.Row, error) {
	var changes, memory []figure.Row
	var err error
	if b.Changes {
		changes, err = b.changes(ctx, m)
	}
	if err == nil && b.Memory {
		memory, err = b.memory(ctx, m)
	}
	return append(changes, memory...), errors.Join(err, ctx.Err())
}

// shortLived makes certificates live for TTL, so that one is renewed before memory is
// looked at.
func (b *bench) shortLived(f *mesh.FleetFile) {
	f.Flags("citadel-ca", "--ttl", b.TTL.String())
}
