package bustest

import (
	"context"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
)

func lastKnownGood(t *testing.T, s Server) {
	w, dir := writer(t, s), t.TempDir()
	r := join(t, s, "reader", options{readOnly: true, keep: dir})
	rev := w.apply(t, put("a", "1"), put("b", "1"))
	r.at(t, rev)
	s.Stop(t)
	r.stop()
	r = join(t, s, "restarted", options{readOnly: true, keep: dir})
	ch := r.next(t)
	if !ch.Reset || !ch.Stale || ch.Revision != rev || len(ch.Entries) != 2 {
		t.Errorf("without the bus: %s, want the kept 2 objects of %d, marked stale", brief(ch), rev)
	}
	if st := r.state(t, "stale", func(st bus.State) bool { return st.Stale }); st.Connected || st.Revision != rev || st.Waiting == "" {
		t.Errorf("state %+v, want stale at %d, waiting", st, rev)
	}
	for k, e := range r.held {
		if e.Key != k || e.Revision != rev || e.Seq == 0 {
			t.Errorf("kept entry %+v", e)
		}
	}
	s.Start(t)
	ch = r.next(t)
	if !ch.Reset || ch.Stale || ch.Revision != rev || len(ch.Entries) != 2 {
		t.Errorf("with the bus back: %s, want a reset that is not stale", brief(ch))
	}
	r.state(t, "no longer stale", func(st bus.State) bool { return connected(st) && !st.Stale })
}

// lose writes two objects, has a keeping writer and reader see them, and replaces the
// bus by an empty one.
func lose(t *testing.T, s Server) (w, r *client, rev uint64) {
	t.Helper()
	w = join(t, s, "pilot", options{keep: t.TempDir()})
	w.next(t)
	r = join(t, s, "mixer", options{readOnly: true, keep: t.TempDir()})
	w.apply(t, put("a", "1"), put("x", "1"))
	rev = w.apply(t, put("b", "1"), bus.Write{Envelope: gone("x"), BasedOn: bus.Any})
	w.at(t, rev)
	r.at(t, rev)
	s.Stop(t)
	w.state(t, "noticed", away)
	r.state(t, "noticed", away)
	s.Wipe(t)
	s.Start(t)
	return w, r, rev
}

func emptyBus(t *testing.T, s Server) {
	w, r, rev := lose(t, s)
	w.state(t, "refused", refused)
	w.fails(t, "write to an empty bus", fault.Precondition, []string{"bus restore"}, put("c", "1"))
	src, _ := s.Connect(t, false)
	if info, err := src.Look(context.Background()); fault.Of(err) != fault.NotFound && info.Count != 0 {
		t.Errorf("empty bus now holds %+v", info)
	}
	for _, c := range []*client{w, r} {
		if len(c.held) != 2 || c.last.Revision != rev {
			t.Errorf("%s: holds %d objects at %d, want 2 at %d", c.name, len(c.held), c.last.Revision, rev)
		}
	}
	// A pilot that never held anything makes a new bus: then the others refuse it as
	// foreign, and say how to get out.
	stranger := writer(t, s)
	stranger.apply(t, put("z", "1"))
	st := r.state(t, "refused as foreign", func(st bus.State) bool { return strings.Contains(st.Refused, "another one") })
	for _, words := range []string{"2 objects", "bus restore", "config.keep"} {
		if !strings.Contains(st.Refused, words) {
			t.Errorf("refusal %q does not say %q", st.Refused, words)
		}
	}
	if len(r.held) != 2 || !st.Connected {
		t.Errorf("reader holds %v, state %+v", r.held, st)
	}
}

func foreignBus(t *testing.T, s Server) {
	dir := t.TempDir()
	w := join(t, s, "first", options{keep: dir})
	w.next(t)
	rev := w.apply(t, put("a", "1"))
	w.at(t, rev)
	w.stop()
	s.Stop(t)
	s.Wipe(t)
	s.Start(t)
	other := writer(t, s)
	other.apply(t, put("q", "1"), put("r", "1"), put("s", "1"))
	again := join(t, s, "again", options{keep: dir})
	ch := again.next(t)
	if !ch.Stale || !ch.Reset || ch.Revision != rev || again.version("a") != "1" {
		t.Errorf("beside a foreign bus: %s, want the kept state at once", brief(ch))
	}
	again.state(t, "refused", refused)
	again.fails(t, "write to a foreign bus", fault.Precondition, nil, put("a", "2"))
	newcomer := join(t, s, "newcomer", options{readOnly: true})
	if ch := newcomer.next(t); ch.Stale || len(ch.Entries) != 3 {
		t.Errorf("who holds nothing: %s, want the bus as it is", brief(ch))
	}
}

func restore(t *testing.T, s Server) {
	w, r, rev := lose(t, s)
	w.state(t, "refused", refused)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	n, err := w.Restore(ctx)
	if err != nil || n != 2 {
		t.Fatalf("restore: %d objects, %v; want 2", n, err)
	}
	for _, c := range []*client{w, r} {
		before := len(c.all)
		c.until(t, "restored state", func() bool { return c.last.Revision > rev })
		if len(c.held) != 2 || c.version("a") != "1" || c.version("b") != "1" {
			t.Errorf("%s: holds %v, want a and b", c.name, c.held)
		}
		for _, ch := range c.all[before:] {
			for _, e := range ch.Entries {
				if e.Envelope.GetDeleted() || e.Revision <= rev {
					t.Errorf("%s: restore brought %s at %d, deleted %v; want a revision above %d", c.name, e.Key, e.Revision, e.Envelope.GetDeleted(), rev)
				}
			}
		}
		c.state(t, "no longer refused", connected)
	}
	next := w.apply(t, put("c", "1"), bus.Write{Envelope: object("x", "2")})
	r.at(t, next)
	if len(r.held) != 4 {
		t.Errorf("after the restore: %v", r.held)
	}
	late := join(t, s, "late", options{readOnly: true})
	if ch := late.next(t); len(ch.Entries) != 4 || ch.Revision != next {
		t.Errorf("newcomer: %s, want 4 objects at %d", brief(ch), next)
	}
}

func restoreRefused(t *testing.T, s Server) {
	w := join(t, s, "pilot", options{})
	w.next(t)
	if _, err := w.Restore(t.Context()); fault.Of(err) != fault.Precondition {
		t.Errorf("restore of nothing: %v, want a precondition", err)
	}
	w.at(t, w.apply(t, put("a", "1")))
	if _, err := w.Restore(t.Context()); fault.Of(err) != fault.Precondition || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restore over a bus in use: %v, want a precondition", err)
	}
	r := join(t, s, "reader", options{readOnly: true})
	r.next(t)
	if _, err := r.Restore(t.Context()); fault.Of(err) != fault.Denied {
		t.Errorf("restore by a reader: %v, want denied", err)
	}
	if r.version("a") != "1" {
		t.Errorf("refused restores changed the bus: %v", r.held)
	}
}
