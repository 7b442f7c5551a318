package bus

import (
	"log/slog"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// Defaults of Config.
const (
	DefaultReconcile  = 2 * time.Second
	DefaultPatience   = 2 * time.Second
	DefaultTombstones = 7 * 24 * time.Hour
)

// Config is what a Bucket needs to know. A zero duration means its default.
type Config struct {
	// Name of the bucket, for people and for the kept file.
	Name string
	// Keep is where the last known good is stored; the zero Keep does not store it.
	Keep Keep
	// Reconcile is how often the bus is asked whether a hint was lost, and how often
	// the last known good is written at most.
	Reconcile time.Duration
	// Patience is how long after start the last known good is held back, in the hope
	// for the bus itself.
	Patience time.Duration
	// Tombstones is how long the bus remembers that an object was deleted.
	Tombstones time.Duration
}

// Bucket is a process's hold on one bucket: reads it with Run, and, if it has a Sink,
// writes it with Apply. The methods are safe for concurrent use; Run runs once.
type Bucket struct {
	cfg  Config
	src  Source
	sink Sink
	log  *slog.Logger

	applying chan struct{} // 1: batches go one after the other
	wake     chan struct{} // 1: our own writes need no hint

	mu    sync.Mutex
	view  *view // changed by Run only
	state State
	ours  bool // the bus was looked at and not refused
}

// Open returns a Bucket that does nothing before Run. sink is nil for who may only
// read.
func Open(cfg Config, src Source, sink Sink, log *slog.Logger) *Bucket {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&cfg.Reconcile, DefaultReconcile},
		{&cfg.Patience, DefaultPatience},
		{&cfg.Tombstones, DefaultTombstones},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	return &Bucket{
		cfg: cfg, src: src, sink: sink, log: log.With("bucket", cfg.Name),
		applying: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		view: newView(), state: State{Waiting: "the bus to be read for the first time"},
	}
}

// State returns how the bucket stands with its bus.
func (b *Bucket) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// writable tells whether Apply may go ahead.
func (b *Bucket) writable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.sink == nil:
		return fault.Denied.Errorf("bus %q: opened for reading only", b.cfg.Name)
	case b.state.Refused != "":
		return fault.Precondition.Errorf("bus %q: %s", b.cfg.Name, b.state.Refused)
	case !b.ours:
		return fault.Unavailable.Errorf("bus %q: waiting for %s", b.cfg.Name, b.state.Waiting)
	}
	return nil
}

func (b *Bucket) nudge() {
	select {
	case b.wake <- struct{}{}:
	default: // one is enough
	}
}
