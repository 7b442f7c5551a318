package bustest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// fails applies and wants a fault of kind whose text holds all of words.
func (c *client) fails(t *testing.T, what string, kind fault.Kind, words []string, writes ...bus.Write) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	rev, err := c.Apply(ctx, writes)
	if err == nil || fault.Of(err) != kind {
		t.Errorf("%s: got revision %d, error %v (%v); want %v", what, rev, err, fault.Of(err), kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %q does not say %q", what, err, w)
		}
	}
}

func limits(t *testing.T, s Server) {
	w := writer(t, s)
	many := make([]bus.Write, bus.MaxBatch+1)
	for i := range many {
		many[i] = put(fmt.Sprintf("r%d", i), "1")
	}
	w.fails(t, "1,001 objects", fault.Exhausted, []string{"1001", "1000"}, many...)
	w.fails(t, "no object", fault.Invalid, nil)
	w.fails(t, "one object twice", fault.Invalid, []string{"Rule default/a", "twice"}, put("a", "1"), put("a", "2"))
	w.fails(t, "object without a name", fault.Invalid, nil, put("", "1"))
	w.fails(t, "deletion of nothing", fault.Invalid, nil, bus.Write{Envelope: gone("a")})
	w.fails(t, "name too long", fault.Invalid, nil, put(strings.Repeat("n", 2000), "1"))
	w.fails(t, "object too large", fault.Exhausted, []string{"Rule default/a"}, put("a", strings.Repeat("x", bus.MaxObject)))
	w.apply(t, put("a", strings.Repeat("x", bus.MaxObject-100)))
}

func staleBatch(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	w.apply(t, put("a", "1"), put("b", "1"))
	r.until(t, "a is there", r.has("a", "1"))
	old := r.held[key("a")].Seq
	rev := w.apply(t, put("a", "2"))
	w.fails(t, "batch with one stale write", fault.Conflict, []string{"Rule default/a"},
		put("b", "3"), bus.Write{Envelope: object("a", "3"), BasedOn: old}, put("c", "3"))
	end := w.apply(t, put("d", "4"))
	r.at(t, end)
	for _, c := range []struct{ name, want string }{{"a", "2"}, {"b", "1"}, {"c", ""}, {"d", "4"}} {
		if got := r.version(c.name); got != c.want {
			t.Errorf("after the refused batch %s is %q, want %q", c.name, got, c.want)
		}
	}
	if end != rev+1 {
		t.Errorf("refused batch used up revisions: %d then %d", rev, end)
	}
}

func expectations(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	w.apply(t, bus.Write{Envelope: object("a", "1")})
	w.fails(t, "create what exists", fault.Conflict, []string{"Rule default/a", "exists"}, bus.Write{Envelope: object("a", "2")})
	r.until(t, "a", r.has("a", "1"))
	w.apply(t, bus.Write{Envelope: object("a", "2"), BasedOn: r.held[key("a")].Seq})
	r.until(t, "a's second version", r.has("a", "2"))
	w.fails(t, "change what never was", fault.Conflict, []string{"Rule default/never", "deleted"},
		put("b", "1"), bus.Write{Envelope: object("never", "1"), BasedOn: 4711})
	seq := r.held[key("a")].Seq
	w.apply(t, bus.Write{Envelope: gone("a"), BasedOn: seq})
	w.fails(t, "change what was deleted", fault.Conflict, []string{"Rule default/a", "deleted"},
		bus.Write{Envelope: object("a", "3"), BasedOn: seq})
	fresh := writer(t, s)
	fresh.apply(t, bus.Write{Envelope: object("a", "4")}, bus.Write{Envelope: object("n", "4")})
	r.until(t, "a made again", r.has("a", "4"))
}

// race lets many writers write on the same base: exactly one of them wins.
func race(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	w.apply(t, put("a", "0"))
	r.until(t, "a", r.has("a", "0"))
	base := r.held[key("a")].Seq
	const writers = 8
	errs := make(chan error, writers)
	for i := range writers {
		c := writer(t, s)
		go func() {
			_, err := c.Apply(context.Background(), []bus.Write{
				{Envelope: object("a", fmt.Sprint(i+1)), BasedOn: base}, put(fmt.Sprintf("of-%d", i), "1"),
			})
			errs <- err
		}()
	}
	won := 0
	for range writers {
		select {
		case err := <-errs:
			if err == nil {
				won++
			} else if fault.Of(err) != fault.Conflict {
				t.Errorf("loser got %v, want a conflict", err)
			}
		case <-time.After(deadline):
			t.Fatal("a writer did not come back")
		}
	}
	r.at(t, w.apply(t, put("end", "1")))
	if won != 1 || len(r.held) != 3 {
		t.Errorf("%d writers won and %d objects are there, want 1 and 3", won, len(r.held))
	}
}

func tombstones(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	w.apply(t, put("a", "1"), put("b", "1"))
	r.until(t, "a", r.has("a", "1"))
	rev := w.apply(t, bus.Write{Envelope: gone("a"), BasedOn: r.held[key("a")].Seq})
	r.at(t, rev)
	e := r.last.Entries[0]
	if len(r.last.Entries) != 1 || e.Key != key("a") || !e.Envelope.GetDeleted() || e.Revision != rev {
		t.Errorf("deletion came as %+v", r.last)
	}
	late := join(t, s, "late", options{readOnly: true})
	late.next(t)
	if _, ok := late.held[key("a")]; ok || late.version("b") != "1" {
		t.Errorf("late reader holds %v, want b only", late.held)
	}
	w.apply(t, bus.Write{Envelope: object("a", "2")})
	late.until(t, "a made again", late.has("a", "2"))
	r.until(t, "a made again", r.has("a", "2"))
}

// tombstonesExpire checks that the bus forgets, and that forgetting changes nothing
// for those who write and read.
func tombstonesExpire(t *testing.T, s Server) {
	w := join(t, s, "writer", options{tombstones: time.Second})
	w.next(t)
	w.apply(t, put("a", "1"))
	rev := w.apply(t, put("x", "1"), bus.Write{Envelope: gone("a"), BasedOn: bus.Any})
	w.at(t, rev)
	src, _ := s.Connect(t, false)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for limit := time.After(deadline); ; {
		info, err := src.Look(context.Background())
		if err == nil && info.Count == 1 {
			break
		}
		select {
		case <-poll.C:
		case <-limit:
			t.Fatalf("tombstone is still there: %+v, %v", info, err)
		}
	}
	late := join(t, s, "late", options{readOnly: true})
	late.next(t)
	if late.version("x") != "1" || len(late.held) != 1 || late.last.Revision != rev {
		t.Errorf("late reader: %v at %d, want x only at %d", late.held, late.last.Revision, rev)
	}
	w.apply(t, bus.Write{Envelope: object("a", "2")})
	late.until(t, "a made again", late.has("a", "2"))
}

func oddNames(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	var writes []bus.Write
	want := map[bus.Key]*busv1.Envelope{}
	for _, name := range []string{
		"a.b.c", "A", "a", "a_b", "a=b", "=", "*", ">", "a b", "ä", "x.>", "..", "-", "日本", "a\n\x00b", "$KV", strings.Repeat("n", 253),
	} {
		e := object(name, "1")
		writes = append(writes, bus.Write{Envelope: e})
		want[key(name)] = e
	}
	bare := &busv1.Envelope{Object: &configv1.Object{Kind: "Rule", Metadata: &configv1.Metadata{Name: "no-namespace"}}}
	writes = append(writes, bus.Write{Envelope: bare})
	want[bus.Key{Kind: "Rule", Name: "no-namespace"}] = bare
	r.at(t, w.apply(t, writes...))
	for k, e := range want {
		if got := r.held[k].Envelope; !proto.Equal(got, e) {
			t.Errorf("%q: got %v, want %v", k, got, e)
		}
	}
	if len(r.held) != len(want) {
		t.Errorf("%d objects, want %d", len(r.held), len(want))
	}
}
