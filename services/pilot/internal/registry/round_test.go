package registry

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// shelf is a registry bucket that can refuse: it checks as the bus does what a write is
// based on, and takes a batch as a whole or not at all.
type shelf struct {
	store *Store

	mu      sync.Mutex
	seq     uint64
	refuses map[string]error // by the name of an object; "" refuses all
	calls   int
	said    map[bus.Key]string // what is stuck
}

// refuse sets what becomes of writes of an object; nil takes them.
func (s *shelf) refuse(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses[name] = err
}

func (s *shelf) stuck(why map[bus.Key]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = why
}

// seen returns what was last said to be stuck, and how many calls there were.
func (s *shelf) seen() (stuck map[bus.Key]string, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said, s.calls
}

func (s *shelf) Apply(_ context.Context, writes []bus.Write) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if err := s.refuses[""]; err != nil {
		return 0, err
	}
	c := bus.Change{Revision: s.seq + uint64(len(writes))}
	for i, w := range writes {
		key := bus.KeyOf(w.Envelope.GetObject())
		if err := s.refuses[key.Name]; err != nil {
			return 0, err
		}
		if old, _ := s.store.Get(key); old.Seq != w.BasedOn {
			return 0, fault.Conflict.Errorf("%s: is at %d, not %d", key, old.Seq, w.BasedOn)
		}
		c.Entries = append(c.Entries, bus.Entry{Key: key, Seq: s.seq + uint64(i) + 1, Revision: c.Revision, Envelope: w.Envelope})
	}
	s.seq = c.Revision
	s.store.Take(c)
	return c.Revision, nil
}

// mirrored runs a mirror between two stores and returns the side to write config to, and
// the registry.
func mirrored(t *testing.T) (config *Store, to *shelf) {
	config, to = NewStore(), &shelf{store: NewStore(), refuses: map[string]error{}}
	to.store.Take(bus.Change{Reset: true})
	m := NewMirror(config, to.store, to, netip.MustParsePrefix("10.78.0.0/16"), "spiffe://cluster.local/ns/a/sa/pilot", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx, to.stuck) //nolint:errcheck // returns only ctx's end
	}()
	t.Cleanup(func() { cancel(); <-done })
	return config, to
}

func names(s *Store) []string {
	entries, _, _ := s.Entries()
	var out []string
	for _, e := range entries {
		out = append(out, e.Key.Name)
	}
	return out
}

func TestAnObjectThatIsRefusedHoldsNoOtherBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config, to := mirrored(t)
		to.refuse("c", fault.Exhausted.Errorf("too large"))
		c := bus.Change{Revision: 5, Reset: true}
		for i, name := range []string{"a", "b", "c", "d", "e"} {
			c.Entries = append(c.Entries, service(name, "", "api", uint64(i)+1))
		}
		config.Take(c)
		synctest.Wait()
		if d := cmp.Diff([]string{"a", "b", "d", "e"}, names(to.store)); d != "" {
			t.Errorf("one refused (-want +got)\n%s", d)
		}
		stuck, _ := to.seen()
		want := map[bus.Key]string{{Kind: "Service", Namespace: "default", Name: "c"}: "too large"}
		if d := cmp.Diff(want, stuck); d != "" {
			t.Errorf("stuck (-want +got)\n%s", d)
		}
		to.refuse("c", nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if d := cmp.Diff([]string{"a", "b", "c", "d", "e"}, names(to.store)); d != "" {
			t.Errorf("taken after all (-want +got)\n%s", d)
		}
		if stuck, _ = to.seen(); len(stuck) != 0 {
			t.Errorf("taken after all: still stuck: %v", stuck)
		}
	})
}

func TestARegistryThatTakesNothingIsNotAskedForEachObject(t *testing.T) {
	for name, err := range map[string]error{
		"refused": fault.Precondition.Errorf("another bus"), "away": fault.Unavailable.Errorf("no answer"),
	} {
		synctest.Test(t, func(t *testing.T) {
			config, to := mirrored(t)
			to.refuse("", err)
			c := bus.Change{Revision: 500, Reset: true}
			for i := range 500 {
				c.Entries = append(c.Entries, service("s"+time.Duration(i).String(), "", "api", uint64(i)+1))
			}
			config.Take(c)
			synctest.Wait()
			stuck, calls := to.seen()
			if calls > maxFailures {
				t.Errorf("%s: %d calls, want at most %d", name, calls, maxFailures)
			}
			if len(stuck) != 500 {
				t.Errorf("%s: %d stuck, want all", name, len(stuck))
			}
			to.refuse("", nil)
			time.Sleep(3 * time.Second)
			synctest.Wait()
			stuck, _ = to.seen()
			if n := len(names(to.store)); n != 500 || len(stuck) != 0 {
				t.Errorf("%s, and back: %d copied and %d stuck, want 500 and none", name, n, len(stuck))
			}
		})
	}
}

func TestALostRaceIsNotStuckUnlessItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config, to := mirrored(t)
		to.refuse("a", fault.Conflict.Errorf("somebody was faster"))
		config.Take(bus.Change{Revision: 1, Reset: true, Entries: []bus.Entry{service("a", "", "api", 1)}})
		synctest.Wait()
		if stuck, _ := to.seen(); len(stuck) != 0 {
			t.Errorf("after one round: stuck: %v", stuck)
		}
		time.Sleep(races * time.Second)
		synctest.Wait()
		if stuck, _ := to.seen(); len(stuck) != 1 {
			t.Errorf("after %d rounds: stuck: %v, want a", races, stuck)
		}
	})
}
