// Package feed brings what the bus holds into mixer. In: changes of the buckets. Out: a
// new plan for every change of the config, a new picture of who is who for every change
// of the registry. It decides nothing and keeps only the newest object of each name.
package feed

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

// bucket is where changes come from.
type bucket interface {
	Run(ctx context.Context, deliver func(bus.Change)) error
	State() bus.State
}

// Reader follows one bucket.
type Reader struct {
	from    bucket
	take    func(ctx context.Context, objects []*configv1.Object, revision uint64)
	log     *slog.Logger
	objects map[bus.Key]*configv1.Object // of Run's goroutine only
	taken   atomic.Bool
}

// New returns a Reader that hands the whole of the bucket to take after every change,
// from one goroutine. take may keep the slice and must not change the objects.
func New(from bucket, log *slog.Logger, take func(ctx context.Context, objects []*configv1.Object, revision uint64)) *Reader {
	return &Reader{from: from, take: take, log: log, objects: map[bus.Key]*configv1.Object{}}
}

// Run reads until ctx ends.
func (r *Reader) Run(ctx context.Context) error {
	return r.from.Run(ctx, func(c bus.Change) {
		if c.Reset {
			clear(r.objects)
		}
		for _, e := range c.Entries {
			if e.Envelope.GetDeleted() {
				delete(r.objects, e.Key)
				continue
			}
			r.objects[e.Key] = e.Envelope.GetObject()
		}
		r.take(ctx, slices.Collect(maps.Values(r.objects)), c.Revision)
		r.taken.Store(true)
		r.log.Debug("took a change", telemetry.Revision(c.Revision), "objects", len(r.objects), "stale", c.Stale)
	})
}

// Waiting says what the reader waits for, "" once something was taken.
func (r *Reader) Waiting() string {
	if r.taken.Load() {
		return ""
	}
	s := r.from.State()
	if s.Refused != "" {
		return s.Refused
	}
	if s.Waiting != "" {
		return s.Waiting
	}
	return "the first change to be taken"
}
