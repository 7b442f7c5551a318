package world

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

func change(revision uint64, reset bool, names ...string) bus.Change {
	c := bus.Change{Revision: revision, Reset: reset}
	for _, n := range names {
		o := &configv1.Object{Kind: "Service", Metadata: &configv1.Metadata{Name: n, Namespace: "default"},
			Spec: &configv1.Object_Service{Service: &configv1.Service{}}}
		c.Entries = append(c.Entries, bus.Entry{Key: bus.KeyOf(o), Seq: revision, Revision: revision, Envelope: &busv1.Envelope{Object: o}})
	}
	return c
}

// start runs a world in the test's bubble, until the test ends.
func start(t *testing.T) (*World, context.Context) { return startWith(t, nil) }

// startWith is start of a world whose first set waits for something.
func startWith(t *testing.T, begins func() (uint64, bool)) (*World, context.Context) {
	ctx, cancel := context.WithCancel(t.Context())
	w := New(Config{
		Settings: model.Settings{Domain: "cluster.local"}, Quiet: 10 * time.Millisecond, MaxDelay: 100 * time.Millisecond, Start: begins,
	}, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }() //nolint:errcheck // returns only ctx's end
	t.Cleanup(func() { cancel(); <-done })
	return w, ctx
}

func TestNothingIsBuiltBeforeBothSidesAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t)
		w.Config(ctx, change(1, true))
		time.Sleep(time.Second)
		synctest.Wait()
		if w.Current() != nil {
			t.Error("a set without the registry")
		}
		w.Registry(ctx, change(5, true, "a"))
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if s := w.Current(); s == nil || len(s.Snapshot.Services) != 1 || s.Snapshot.Revision != 1 || s.Snapshot.RegistryRevision != 5 {
			t.Errorf("got %+v, want one service at revisions 1 and 5", s)
		}
	})
}

func TestTheFirstSetHasWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var known atomic.Bool
		w, ctx := startWith(t, func() (uint64, bool) { return 7, known.Load() })
		is := func(step string, revision uint64) {
			t.Helper()
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			s := w.Current()
			if (s != nil) != (revision != 0) || s != nil && s.Snapshot.Revision != revision {
				t.Errorf("%s: got %+v, want revision %d", step, s, revision)
			}
		}
		w.Config(ctx, change(5, true))
		w.Registry(ctx, change(1, true))
		is("what it waits for is not known", 0)
		known.Store(true)
		is("it is known, and not there", 0)
		w.Config(ctx, change(7, false))
		is("it is there", 7)
		known.Store(false)
		w.Config(ctx, change(8, false))
		is("a later one waits for nothing", 8)
	})
}

func TestTheFirstSetDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ctx := startWith(t, func() (uint64, bool) { return 0, false })
		w.Config(ctx, change(5, true))
		w.Registry(ctx, change(1, true))
		time.Sleep(startLimit + 20*time.Millisecond)
		synctest.Wait()
		if w.Current() == nil {
			t.Error("nothing is told although nobody says what is missing")
		}
	})
}

func TestChangesAreCollectedButNotForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t)
		w.Config(ctx, change(1, true))
		w.Registry(ctx, change(1, true))
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		sets := 0
		for n := range uint64(40) { // one every 5 ms: never quiet for 10
			changed := w.Changed()
			w.Registry(ctx, change(n+2, false, "a"))
			time.Sleep(5 * time.Millisecond)
			synctest.Wait()
			select {
			case <-changed:
				sets++
			default:
			}
		}
		if sets != 2 {
			t.Errorf("200 ms of changes: %d sets, want one each 100 ms", sets)
		}
	})
}

func TestARevisionIsThereWhenTheRegistryMirrorsIt(t *testing.T) {
	copied := func(revision uint64, address string, names ...string) bus.Change {
		c := change(revision, false, names...)
		for _, e := range c.Entries {
			e.Envelope.Origin = model.OriginConfig
			e.Envelope.Object.GetService().Address = address
		}
		return c
	}
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t)
		steps := []struct {
			what string
			feed func()
			want uint64
		}{
			{"nothing", func() { w.Config(ctx, change(3, true)); w.Registry(ctx, change(1, true)) }, 3},
			{"a service is written", func() { w.Config(ctx, change(4, false, "a")) }, 3},
			{"and mirrored", func() { w.Registry(ctx, copied(2, "10.78.0.1", "a")) }, 4},
			{"it is deleted", func() {
				c := change(5, false, "a")
				c.Entries[0].Envelope.Deleted = true
				w.Config(ctx, c)
			}, 4},
			{"there as well", func() {
				c := copied(3, "", "a")
				c.Entries[0].Envelope.Deleted = true
				w.Registry(ctx, c)
			}, 5},
			{"another source has the name", func() {
				w.Registry(ctx, change(4, false, "b"))
				w.Config(ctx, change(6, false, "b"))
			}, 6},
		}
		for _, s := range steps {
			s.feed()
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if got := w.Current().Snapshot.Revision; got != s.want {
				t.Errorf("%s: revision %d, want %d", s.what, got, s.want)
			}
		}
	})
}

func TestAStuckObjectHoldsBackNoOther(t *testing.T) {
	a, key := model.Ref{Kind: "Service", Namespace: "default", Name: "a"}, bus.Key{Kind: "Service", Namespace: "default", Name: "a"}
	copied := func(revision uint64, names ...string) bus.Change {
		c := change(revision, false, names...)
		for _, e := range c.Entries {
			e.Envelope.Origin = model.OriginConfig
		}
		return c
	}
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t)
		for _, s := range []struct {
			what    string
			feed    func()
			want    uint64
			behind  string
			arrived uint64
		}{
			{"nothing", func() { w.Config(ctx, change(3, true)); w.Registry(ctx, change(1, true)) }, 3, "", 0},
			{"a is written", func() { w.Config(ctx, change(4, false, "a")) }, 3, "", 0},
			{"and cannot be copied", func() { w.Stuck(ctx, map[bus.Key]string{key: "too large"}) }, 4, "too large", 0},
			{"b is written", func() { w.Config(ctx, change(5, false, "b")) }, 4, "too large", 0},
			{"and copied", func() { w.Registry(ctx, copied(2, "b")) }, 5, "too large", 0},
			{"a is no longer stuck", func() { w.Stuck(ctx, map[bus.Key]string{}) }, 5, "is being copied", 0},
			{"and copied", func() { w.Registry(ctx, copied(3, "a")) }, 5, "", 3},
		} {
			s.feed()
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			got := w.Current().Snapshot
			if got.Revision != s.want || got.Behind[a] != s.behind || got.Arrived[a] != s.arrived {
				t.Errorf("%s: revision %d, behind %v, arrived %v; want %d, %q, %d", s.what,
					got.Revision, got.Behind, got.Arrived, s.want, s.behind, s.arrived)
			}
		}
	})
}
