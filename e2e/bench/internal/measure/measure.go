package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// Config says how much to measure.
type Config struct {
	Root mesh.Root
	// Self is the path of this program, which also runs on the hosts.
	Self string
	// Progress takes a line for each thing that is begun or done.
	Progress io.Writer
	// Parts to measure.
	Starts, Changes, Memory, Path bool

	Runs    int // of everything but memory
	Applies int // in each run
	// Path: a run is Slices times Slice for each variant, by turns, at Rate requests a
	// second over Connections connections, each slice after Warmup.
	Slices        int
	Slice, Warmup time.Duration
	Rate          int
	Connections   int
	// Patience is how long after the start of its mesh a slice is measured again when
	// the machine was held up meanwhile.
	Patience time.Duration
	// MemoryAfter is how long after the start of the mesh memory is looked at, for
	// MemoryFor, every MemoryEvery. Certificates live for TTL.
	MemoryAfter, MemoryFor, MemoryEvery time.Duration
	TTL                                 time.Duration
}

// Whole is the whole measurement, of half an hour and more.
func Whole(root mesh.Root, self string, progress io.Writer) Config {
	return Config{
		Root: root, Self: self, Progress: progress,
		Starts: true, Changes: true, Memory: true, Path: true,
		Runs: 5, Applies: 50,
		Slices: 10, Slice: time.Second, Warmup: 250 * time.Millisecond, Rate: 1000, Connections: 10, Patience: 30 * time.Minute,
		MemoryAfter: 10 * time.Minute, MemoryFor: time.Minute, MemoryEvery: 2 * time.Second, TTL: 10 * time.Minute,
	}
}

// Quick is a measurement of some minutes, for who changes something and wants to know.
func Quick(root mesh.Root, self string, progress io.Writer) Config {
	c := Whole(root, self, progress)
	c.Slices, c.Patience = 5, 5*time.Minute
	c.MemoryAfter, c.TTL = time.Minute, time.Minute
	return c
}

// Run measures and returns the rows. With an error the rows are those that were there
// before it.
func Run(ctx context.Context, c Config) ([]figure.Row, error) {
	b := &bench{Config: c, began: time.Now()}
	var rows []figure.Row
	for _, part := range []struct {
		name    string
		wanted  bool
		measure func(context.Context) ([]figure.Row, error)
	}{
		{"the path of a request", c.Path, b.path},
		{"the whole mesh", c.Starts || c.Changes || c.Memory, b.whole},
	} {
		if !part.wanted {
			continue
		}
		more, err := part.measure(ctx)
		rows = append(rows, more...)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return rows, fmt.Errorf("measure %s: %w", part.name, err)
		}
	}
	return rows, nil
}

// bench is one measurement.
type bench struct {
	Config
	began   time.Time
	started time.Time // the newest mesh
	hosts   []string  // of the mesh for requests, in order
	told    time.Time // that slices are measured again
	blind   bool      // to hold-ups
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.Progress, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// with starts a mesh, calls use, and removes the mesh.
func (b *bench) with(ctx context.Context, cfg mesh.Config, use func(context.Context, *mesh.Mesh) error) error {
	m, err := mesh.New(cfg)
	if err != nil {
		return err
	}
	b.started = time.Now()
	err = m.Start(ctx)
	if err == nil {
		err = use(ctx, m)
	}
	return errors.Join(err, m.Remove())
}

// until calls try every now and then until it returns nil, and returns its last error
// when that takes too long.
func until(ctx context.Context, limit time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
