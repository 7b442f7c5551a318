// Package intaketest opens an Intake over a bus in memory, for the tests of those who
// hand batches in.
package intaketest

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/membus"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Bus is an Intake and what stands behind it.
type Bus struct {
	*intake.Intake
	Server *membus.Bus
	// Config and Registry are the buckets, with their writes switchable.
	Config, Registry *Switch

	mu         sync.Mutex
	registered map[model.Ref]bool
	news       chan struct{} // closed and replaced when registered grows
}

// Switch is a bucket whose writes can be made to fail.
type Switch struct {
	*bus.Bucket

	mu   sync.Mutex
	fail error
}

// Fail makes every Apply return err, or work again if it is nil.
func (s *Switch) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Apply writes, unless it is to fail.
func (s *Switch) Apply(ctx context.Context, w []bus.Write) (uint64, error) {
	s.mu.Lock()
	err := s.fail
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return s.Bucket.Apply(ctx, w)
}

// Open returns an Intake that has read its empty bus, and for which every origin keeps
// its objects. It ends with the test.
func Open(t *testing.T) *Bus {
	t.Helper()
	return OpenWith(t, nil)
}

// OpenWith is Open with another intake.Config.Keeps.
func OpenWith(t *testing.T, keeps func(origin string) bool) *Bus {
	t.Helper()
	b := &Bus{Server: membus.New(), registered: map[model.Ref]bool{}, news: make(chan struct{})}
	log := slog.New(slog.DiscardHandler)
	open := func(name string) *Switch {
		store := b.Server.Store(name)
		return &Switch{Bucket: bus.Open(bus.Config{Name: name}, store, store, log)}
	}
	b.Config, b.Registry = open("config"), open("registry")
	b.Intake = intake.New(intake.Config{
		Settings: ingest.Settings{Domain: "cluster.local", Addresses: netip.MustParsePrefix("10.78.0.0/16")},
		Now:      func() time.Time { return time.Unix(1_500_000_000, 0) },
		Keeps:    keeps,
	}, b.Config)
	ready := make(chan struct{}, 2) // one for each bucket
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, r := range []struct {
		from *Switch
		take func(bus.Change)
	}{{b.Config, b.Intake.Config}, {b.Registry, func(c bus.Change) { b.Intake.Registry(c); b.note(c) }}} {
		running.Go(func() {
			var once sync.Once
			if err := r.from.Run(ctx, func(c bus.Change) { r.take(c); once.Do(func() { ready <- struct{}{} }) }); err != nil {
				t.Errorf("bus: %v", err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	for range 2 {
		select {
		case <-ready:
		case <-time.After(10 * time.Second):
			t.Fatal("the bus in memory was not read within 10 s")
		}
	}
	return b
}

// WaitForRegistry waits until the registry's object has been read.
func (b *Bus) WaitForRegistry(t *testing.T, o *configv1.Object) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		b.mu.Lock()
		found, changed := b.registered[model.RefOf(o)], b.news
		b.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s was not read within 10 s", model.RefOf(o))
		}
	}
}

// note remembers what the registry has.
func (b *Bus) note(c bus.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range c.Entries {
		b.registered[model.RefOf(e.Envelope.GetObject())] = true
	}
	close(b.news)
	b.news = make(chan struct{})
}
