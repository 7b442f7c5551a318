// Package bustest is the suite that every store of the bus passes. In: a way to open a
// server. Out: test failures. It waits for events with deadlines and never sleeps.
package bustest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Server is one bus under test; it is running when it is opened, and cleans up after
// itself at the end of the test.
type Server interface {
	// Connect returns a new client's hold on the bucket, for who may only read a nil
	// Sink.
	Connect(t *testing.T, write bool) (bus.Source, bus.Sink)
	// Stop ends the server without warning, Start starts it with what it had.
	Stop(t *testing.T)
	Start(t *testing.T)
	// Wipe makes a stopped server lose everything.
	Wipe(t *testing.T)
}

// Run runs the suite; open is called for each test.
func Run(t *testing.T, open func(t *testing.T) Server) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s Server)
	}{
		{"first change is the whole state", firstChange},
		{"order", order},
		{"two readers see one order", equalOrder},
		{"batch is seen as one", atomicBatch},
		{"batch is never half", neverHalf},
		{"limits", limits},
		{"stale revision refuses the whole batch", staleBatch},
		{"expectations", expectations},
		{"race of writers", race},
		{"tombstones", tombstones},
		{"tombstones expire", tombstonesExpire},
		{"odd names", oddNames},
		{"redelivery", redelivery},
		{"reconnect", reconnect},
		{"compaction", compaction},
		{"slow reader", slowReader},
		{"ten thousand objects", tenThousand},
		{"reader makes no bucket", readOnly},
		{"last known good", lastKnownGood},
		{"empty bus is refused", emptyBus},
		{"foreign bus is refused", foreignBus},
		{"restore", restore},
		{"restore needs an empty bus", restoreRefused},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// deadline bounds every wait. Reaching it is a failure.
const deadline = 20 * time.Second

// client is one process: a bucket that runs, and all that was delivered to it.
type client struct {
	*bus.Bucket
	name string
	stop func()

	got  chan bus.Change // unbuffered: deliver waits for the test
	held map[bus.Key]bus.Entry
	last bus.Change
	all  []bus.Change
}

type options struct {
	keep       string
	readOnly   bool
	tombstones time.Duration
}

// join starts a client.
func join(t *testing.T, s Server, name string, o options) *client {
	t.Helper()
	src, sink := s.Connect(t, !o.readOnly)
	cfg := bus.Config{
		Name: "config", Keep: bus.Keep{Dir: o.keep}, Tombstones: o.tombstones,
		Reconcile: 100 * time.Millisecond, Patience: 300 * time.Millisecond,
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil)).With("client", name)
	c := &client{
		Bucket: bus.Open(cfg, src, sink, log), name: name,
		got: make(chan bus.Change), held: map[bus.Key]bus.Entry{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() {
		left <- c.Run(ctx, func(ch bus.Change) {
			select {
			case c.got <- ch:
			case <-ctx.Done():
			}
		})
	}()
	c.stop = func() {
		cancel()
		select {
		case err := <-left:
			if err != nil {
				t.Errorf("%s: Run ended with %v", name, err)
			}
			left <- nil // a second stop is no mistake
		case <-time.After(deadline):
			t.Errorf("%s: Run did not end", name)
		}
	}
	t.Cleanup(c.stop)
	return c
}

// next takes one change, checks what holds for every change, and applies it.
func (c *client) next(t *testing.T) bus.Change {
	t.Helper()
	select {
	case ch := <-c.got:
		c.take(t, ch)
		return ch
	case <-time.After(deadline):
		t.Fatalf("%s: no change came; state %+v", c.name, c.State())
		return bus.Change{}
	}
}

func (c *client) take(t *testing.T, ch bus.Change) {
	t.Helper()
	if len(c.all) == 0 && !ch.Reset {
		t.Errorf("%s: first change is no reset: %s", c.name, brief(ch))
	}
	if ch.Revision < c.last.Revision {
		t.Errorf("%s: revision went from %d back to %d", c.name, c.last.Revision, ch.Revision)
	}
	if ch.Reset {
		clear(c.held)
	}
	seen, before := map[bus.Key]bool{}, uint64(0)
	for _, e := range ch.Entries {
		if seen[e.Key] || e.Seq < before || e.Revision < e.Seq || e.Revision > ch.Revision {
			t.Errorf("%s: entry %s (seq %d after %d, revision %d, again %v) in change %d",
				c.name, e.Key, e.Seq, before, e.Revision, seen[e.Key], ch.Revision)
		}
		seen[e.Key], before = true, e.Seq
		switch deleted := e.Envelope.GetDeleted(); {
		case deleted && ch.Reset:
			t.Errorf("%s: tombstone of %s in a reset", c.name, e.Key)
		case deleted:
			delete(c.held, e.Key)
		default:
			c.held[e.Key] = e
		}
	}
	c.all = append(c.all, ch)
	c.last = ch
}

// until takes changes until cond holds.
func (c *client) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for !cond() {
		select {
		case ch := <-c.got:
			c.take(t, ch)
		case <-time.After(deadline):
			t.Fatalf("%s: still not: %s; state %+v, last %s", c.name, what, c.State(), brief(c.last))
		}
	}
}

// at takes changes until the revision is reached.
func (c *client) at(t *testing.T, revision uint64) {
	t.Helper()
	c.until(t, fmt.Sprintf("at revision %d", revision), func() bool { return c.last.Revision >= revision })
}

// state waits until State satisfies cond, taking changes meanwhile.
func (c *client) state(t *testing.T, what string, cond func(bus.State) bool) bus.State {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(deadline)
	for {
		if s := c.State(); cond(s) {
			return s
		}
		select {
		case ch := <-c.got:
			c.take(t, ch)
		case <-poll.C:
		case <-limit:
			t.Fatalf("%s: still not: %s; state %+v", c.name, what, c.State())
		}
	}
}

func connected(s bus.State) bool { return s.Connected && s.Refused == "" }
func refused(s bus.State) bool   { return s.Refused != "" }
func away(s bus.State) bool      { return !s.Connected }

// drain takes changes forever, for a client that the test only writes with.
func (c *client) drain(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-c.got:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// writer starts a client that can write and whose changes nobody wants.
func writer(t *testing.T, s Server) *client {
	t.Helper()
	c := join(t, s, "writer", options{})
	c.next(t)
	c.drain(t)
	return c
}

// apply writes and must succeed.
func (c *client) apply(t *testing.T, writes ...bus.Write) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	rev, err := c.Apply(ctx, writes)
	if err != nil {
		t.Fatalf("%s: apply %d writes: %v", c.name, len(writes), err)
	}
	return rev
}

// object is a rule whose label "v" tells versions apart.
func object(name, version string) *busv1.Envelope {
	return &busv1.Envelope{Object: &configv1.Object{
		Kind:     "Rule",
		Metadata: &configv1.Metadata{Namespace: "default", Name: name, Labels: map[string]string{"v": version}},
	}}
}

func gone(name string) *busv1.Envelope {
	e := object(name, "")
	e.Deleted = true
	return e
}

func put(name, version string) bus.Write {
	return bus.Write{Envelope: object(name, version), BasedOn: bus.Any}
}

func key(name string) bus.Key { return bus.Key{Kind: "Rule", Namespace: "default", Name: name} }

func (c *client) version(name string) string {
	return c.held[key(name)].Envelope.GetObject().GetMetadata().GetLabels()["v"]
}

func (c *client) has(name, version string) func() bool {
	return func() bool { return c.version(name) == version }
}

func brief(c bus.Change) string {
	return fmt.Sprintf("{revision %d, %d entries, reset %v, stale %v}", c.Revision, len(c.Entries), c.Reset, c.Stale)
}
