package dispatch

import (
	"context"
	"sync"

	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

// World is the newest Snapshot of the registry. Its methods are safe for concurrent use.
type World struct {
	mu      sync.Mutex
	now     *registry.Snapshot
	changed chan struct{} // closed and replaced by Set
}

// NewWorld returns a World of which nothing is known.
func NewWorld() *World { return &World{now: &registry.Snapshot{}, changed: make(chan struct{})} }

// Snapshot returns the newest one.
func (w *World) Snapshot() *registry.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Set replaces it.
func (w *World) Set(s *registry.Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = s
	close(w.changed)
	w.changed = make(chan struct{})
}

// Await returns the first Snapshot for which ok holds, or the newest when ctx ends.
func (w *World) Await(ctx context.Context, ok func(*registry.Snapshot) bool) *registry.Snapshot {
	for {
		w.mu.Lock()
		now, changed := w.now, w.changed
		w.mu.Unlock()
		if ok(now) {
			return now
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now
		}
	}
}
