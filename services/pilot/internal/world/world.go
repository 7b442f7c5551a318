// Package world owns what pilot knows. In: changes of the two buckets. Out: one
// immutable translate.Set after another, each built when things have been quiet for a
// moment, or at the latest after a bound. It fetches nothing and talks to nobody: it is
// fed, and who wants its sets takes them.
package world

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// Config is what a World needs to know.
type Config struct {
	Settings model.Settings
	Mesh     translate.Mesh
	// Quiet is how long nothing must come in before a set is built, and MaxDelay how
	// long a change waits at most while more come in.
	Quiet, MaxDelay time.Duration
	// Start says which revision the first set waits for, and whether that is known yet: a
	// world that lacks what pilot itself is about to write is not to be told. Nil waits
	// for nothing. It waits for startLimit at most, since the bus may not take writes.
	Start func() (revision uint64, ok bool)
}

// startLimit is how long the first set waits for what Start says.
const startLimit = 5 * time.Second

// World is fed by Config and Registry and read by Current. Safe for concurrent use.
type World struct {
	cfg      Config
	log      *slog.Logger
	config   chan bus.Change // unbuffered: a reader waits until its change is taken
	registry chan bus.Change
	stuck    chan map[bus.Key]string

	mu      sync.Mutex
	current *translate.Set
	changed chan struct{} // closed and replaced with each set
}

// New returns a World that knows nothing.
func New(cfg Config, log *slog.Logger) *World {
	return &World{
		cfg: cfg, log: log, changed: make(chan struct{}),
		config: make(chan bus.Change), registry: make(chan bus.Change), stuck: make(chan map[bus.Key]string),
	}
}

// Current returns the newest set, nil before both buckets were read once, and before what
// Config.Start says.
func (w *World) Current() *translate.Set {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// Changed returns a channel that is closed when there is a set newer than the current
// one. Get the channel before Current to miss nothing.
func (w *World) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Config takes a change of the config bucket; it returns when the world has it, or ctx
// ends.
func (w *World) Config(ctx context.Context, c bus.Change) { feed(ctx, w.config, c) }

// Registry takes a change of the registry bucket.
func (w *World) Registry(ctx context.Context, c bus.Change) { feed(ctx, w.registry, c) }

// Stuck takes which of the config's services and workloads cannot be written to the
// registry, each with the reason. It replaces what was said before. The map is not
// changed any more.
func (w *World) Stuck(ctx context.Context, why map[bus.Key]string) { feed(ctx, w.stuck, why) }

func feed[T any](ctx context.Context, to chan<- T, news T) {
	select {
	case to <- news:
	case <-ctx.Done():
	}
}

// Run builds sets until ctx ends.
func (w *World) Run(ctx context.Context) error {
	var config, registry half
	mirror := copies{behind: map[bus.Key]string{}, arrived: map[bus.Key]uint64{}}
	var quiet, latest <-chan time.Time
	var known time.Time // since when both halves are
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-w.config:
			config.apply(c)
		case c := <-w.registry:
			registry.apply(c)
		case mirror.stuck = <-w.stuck:
		case <-quiet:
			quiet, latest = w.build(&config, &registry, &mirror, known), nil
			continue
		case <-latest:
			quiet, latest = w.build(&config, &registry, &mirror, known), nil
			continue
		}
		if config.loaded && registry.loaded {
			if known.IsZero() {
				known = time.Now()
			}
			quiet = time.After(w.cfg.Quiet)
			if latest == nil {
				latest = time.After(w.cfg.MaxDelay)
			}
		}
	}
}

// build makes a set, or says when to try again if it is too early for the first.
func (w *World) build(config, registry *half, mirror *copies, known time.Time) (again <-chan time.Time) {
	began := time.Now()
	mirror.judge(config, registry)
	if w.Current() == nil && !w.starts(mirror.whole) && began.Sub(known) < startLimit {
		return time.After(w.cfg.Quiet)
	}
	snap := model.Build(model.Input{
		Settings: w.cfg.Settings, Revision: mirror.whole, Read: config.revision, RegistryRevision: registry.revision,
		Behind: byRef(mirror.behind), Arrived: byRef(mirror.arrived),
		Config: config.objects(), Registry: registry.objects(),
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = translate.NewSet(snap, w.cfg.Mesh, w.current)
	close(w.changed)
	w.changed = make(chan struct{})
	w.log.Debug("world", telemetry.Revision(snap.Revision), "registry_revision", snap.RegistryRevision,
		"services", len(snap.Services), "workloads", len(snap.Workloads), "took", time.Since(began))
	return nil
}

// starts reports whether a world at a revision has what the first one is to have.
func (w *World) starts(revision uint64) bool {
	if w.cfg.Start == nil {
		return true
	}
	wanted, ok := w.cfg.Start()
	return ok && revision >= wanted
}

// half is the state of one bucket. Used by Run's goroutine only.
type half struct {
	loaded   bool
	revision uint64
	entries  map[bus.Key]*configv1.Object
}

func (h *half) apply(c bus.Change) {
	if c.Reset || h.entries == nil {
		h.entries = map[bus.Key]*configv1.Object{}
	}
	for _, e := range c.Entries {
		if e.Envelope.GetDeleted() {
			delete(h.entries, e.Key)
			continue
		}
		h.entries[e.Key] = stamped(e)
	}
	h.revision, h.loaded = c.Revision, true
}

// stamped is the entry's object with its revision and origin in its metadata.
func stamped(e bus.Entry) *configv1.Object {
	o, ok := proto.Clone(e.Envelope.GetObject()).(*configv1.Object)
	if !ok {
		panic("a clone has another type")
	}
	if o.Metadata == nil {
		o.Metadata = &configv1.Metadata{Namespace: e.Key.Namespace, Name: e.Key.Name}
	}
	o.Metadata.Revision, o.Metadata.Origin = e.Revision, e.Envelope.GetOrigin()
	return o
}

func (h *half) objects() []*configv1.Object { return slices.Collect(maps.Values(h.entries)) }
