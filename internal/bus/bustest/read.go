package bustest

import (
	"fmt"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
)

func firstChange(t *testing.T, s Server) {
	w := writer(t, s)
	empty := join(t, s, "early", options{readOnly: true})
	if ch := empty.next(t); !ch.Reset || ch.Stale || len(ch.Entries) != 0 {
		t.Errorf("first change of an empty bucket: %s", brief(ch))
	}
	rev := w.apply(t, put("a", "1"), put("b", "1"))
	empty.at(t, rev)
	late := join(t, s, "late", options{readOnly: true})
	ch := late.next(t)
	if !ch.Reset || ch.Stale || len(ch.Entries) != 2 || ch.Revision != rev {
		t.Errorf("first change: %s, want a reset with 2 entries at %d", brief(ch), rev)
	}
	for _, e := range ch.Entries {
		if e.Revision != rev {
			t.Errorf("%s: revision %d, want %d", e.Key, e.Revision, rev)
		}
	}
	if st := late.state(t, "connected", connected); st.Revision != rev || st.Stale || st.Waiting != "" {
		t.Errorf("state %+v", st)
	}
}

func order(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	r.next(t)
	last := uint64(0)
	for i := range 200 {
		rev := w.apply(t, put(fmt.Sprintf("r%d", i%7), fmt.Sprint(i)))
		if rev <= last {
			t.Fatalf("write %d got revision %d after %d", i, rev, last)
		}
		last = rev
	}
	r.at(t, last)
	before := uint64(0)
	for _, ch := range r.all {
		for _, e := range ch.Entries {
			if e.Seq <= before {
				t.Errorf("%s at %d came after %d", e.Key, e.Seq, before)
			}
			before = e.Seq
		}
	}
	for i := 193; i < 200; i++ {
		if name := fmt.Sprintf("r%d", i%7); r.version(name) != fmt.Sprint(i) {
			t.Errorf("%s is %s, want %d", name, r.version(name), i)
		}
	}
}

func equalOrder(t *testing.T, s Server) {
	w := writer(t, s)
	var readers []*client
	for i := range 3 {
		r := join(t, s, fmt.Sprintf("reader%d", i), options{readOnly: true})
		r.next(t)
		readers = append(readers, r)
	}
	last := uint64(0)
	for i := range 100 {
		last = w.apply(t, put(fmt.Sprintf("r%d", i), "1"), put(fmt.Sprintf("s%d", i), "1"))
	}
	var want []string
	for i, r := range readers {
		r.at(t, last)
		var got []string
		for _, ch := range r.all {
			for _, e := range ch.Entries {
				got = append(got, fmt.Sprint(e.Key, e.Seq, e.Revision))
			}
		}
		if i == 0 {
			want = got
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || len(got) != 200 {
			t.Errorf("reader %d saw another order: %d entries %v, reader 0 %v", i, len(got), got, want)
		}
	}
}

func atomicBatch(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	r.next(t)
	for round := range 5 {
		batch := make([]bus.Write, bus.MaxBatch)
		for i := range batch {
			batch[i] = put(fmt.Sprintf("r%d", i), fmt.Sprint(round))
		}
		rev := w.apply(t, batch...)
		ch := r.next(t)
		if len(ch.Entries) != bus.MaxBatch || ch.Revision != rev {
			t.Errorf("round %d: %s, want one change of %d at %d", round, brief(ch), bus.MaxBatch, rev)
		}
		for _, e := range ch.Entries {
			if e.Revision != rev {
				t.Fatalf("round %d: %s has revision %d, want %d", round, e.Key, e.Revision, rev)
			}
		}
	}
}

// neverHalf overwrites the same objects while readers come, go and lag: whoever looks,
// all objects have one version.
func neverHalf(t *testing.T, s Server) {
	w := writer(t, s)
	const objects, batches = 100, 60
	write := func(i int) uint64 {
		batch := make([]bus.Write, objects)
		for j := range batch {
			batch[j] = put(fmt.Sprintf("r%d", j), fmt.Sprint(i))
		}
		return w.apply(t, batch...)
	}
	write(0)
	r := join(t, s, "reader", options{readOnly: true})
	written := make(chan uint64, 1)
	go func() {
		last := uint64(0)
		for i := 1; i <= batches; i++ {
			last = write(i)
		}
		written <- last
	}()
	check := func(c *client) {
		if len(c.held) != objects {
			t.Fatalf("%s: %d objects after %s, want %d", c.name, len(c.held), brief(c.last), objects)
		}
		for k, e := range c.held {
			if v := e.Envelope.GetObject().GetMetadata().GetLabels()["v"]; v != c.version("r0") || e.Revision != c.last.Revision {
				t.Fatalf("%s: %s is version %s of revision %d beside %s of %d", c.name, k, v, e.Revision, c.version("r0"), c.last.Revision)
			}
		}
	}
	for r.version("r0") != fmt.Sprint(batches) {
		r.next(t)
		check(r)
		passing := join(t, s, "passing", options{readOnly: true})
		passing.next(t)
		check(passing)
		passing.stop()
	}
	if last := <-written; r.last.Revision != last {
		t.Errorf("ended at %d, want %d", r.last.Revision, last)
	}
}

func redelivery(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	r.at(t, w.apply(t, put("a", "1"), put("b", "1")))
	for i := range 3 {
		before := len(r.all)
		s.Stop(t)
		r.state(t, "noticed", away)
		w.state(t, "noticed", away)
		s.Start(t)
		r.state(t, "connected again", connected)
		w.state(t, "connected again", connected)
		r.at(t, w.apply(t, put("c", fmt.Sprint(i))))
		if news := r.all[before:]; len(news) != 1 || news[0].Reset || len(news[0].Entries) != 1 {
			t.Errorf("after restart %d: %d changes, last %s; want the one object that changed", i, len(news), brief(r.last))
		}
	}
}

func reconnect(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	early := w.apply(t, put("a", "1"), put("b", "1"))
	r.at(t, early)
	s.Stop(t)
	r.state(t, "noticed", away)
	w.state(t, "noticed", away)
	w.fails(t, "write while away", fault.Unavailable, nil, put("a", "lost"))
	if r.version("a") != "1" || r.State().Revision != early {
		t.Errorf("while away: a is %q, state %+v", r.version("a"), r.State())
	}
	late := join(t, s, "late", options{readOnly: true})
	late.state(t, "waiting", func(st bus.State) bool { return st.Waiting != "" })
	s.Start(t)
	w.state(t, "connected again", connected)
	rev := w.apply(t, put("a", "2"), bus.Write{Envelope: gone("b"), BasedOn: bus.Any})
	if rev <= early {
		t.Errorf("revision went from %d to %d over a restart", early, rev)
	}
	for _, c := range []*client{r, late} {
		c.at(t, rev)
		if c.version("a") != "2" || len(c.held) != 1 {
			t.Errorf("%s holds %v, want a in version 2", c.name, c.held)
		}
	}
}

func compaction(t *testing.T, s Server) {
	w := writer(t, s)
	rev := uint64(0)
	for i := range 150 {
		rev = w.apply(t, put("a", fmt.Sprint(i)), put(fmt.Sprintf("r%d", i%3), fmt.Sprint(i)))
	}
	r := join(t, s, "reader", options{readOnly: true})
	ch := r.next(t)
	if len(ch.Entries) != 4 || r.version("a") != "149" || ch.Revision != rev {
		t.Errorf("listing: %s, a is %s; want the newest of 4 objects at %d", brief(ch), r.version("a"), rev)
	}
	src, _ := s.Connect(t, false)
	if info, err := src.Look(t.Context()); err != nil || info.Count != 4 || info.Last != rev {
		t.Errorf("bucket: %+v, %v; want 4 messages, last %d", info, err, rev)
	}
}

func slowReader(t *testing.T, s Server) {
	w, quick := writer(t, s), join(t, s, "quick", options{readOnly: true})
	quick.next(t)
	stuck := join(t, s, "stuck", options{readOnly: true}) // takes nothing until the end
	last := uint64(0)
	for i := range 300 {
		last = w.apply(t, put(fmt.Sprintf("r%d", i%10), fmt.Sprint(i)), put("all", fmt.Sprint(i)))
		quick.at(t, last)
	}
	stuck.at(t, last)
	if n := len(stuck.all); n > 3 {
		t.Errorf("the stuck reader got %d changes, want at most 3: nothing may be queued for it", n)
	}
	for k, e := range quick.held {
		if stuck.held[k].Seq != e.Seq {
			t.Errorf("%s: stuck reader has %d, want the newest, %d", k, stuck.held[k].Seq, e.Seq)
		}
	}
}

func tenThousand(t *testing.T, s Server) {
	w, r := writer(t, s), join(t, s, "reader", options{readOnly: true})
	r.next(t)
	const objects = 10_000
	last := uint64(0)
	for from := 0; from < objects; from += bus.MaxBatch {
		batch := make([]bus.Write, bus.MaxBatch)
		for i := range batch {
			batch[i] = bus.Write{Envelope: object(fmt.Sprintf("r%d", from+i), "1")}
		}
		last = w.apply(t, batch...)
	}
	r.at(t, last)
	late := join(t, s, "late", options{readOnly: true, keep: t.TempDir()})
	ch := late.next(t)
	if len(ch.Entries) != objects || len(r.held) != objects || ch.Revision != last {
		t.Errorf("listing: %s, watching: %d objects; want %d at %d", brief(ch), len(r.held), objects, last)
	}
	rev := w.apply(t, put("r5000", "2"))
	for _, c := range []*client{r, late} {
		if got := c.next(t); got.Reset || len(got.Entries) != 1 || got.Revision != rev {
			t.Errorf("%s: one change among %d objects came as %s", c.name, objects, brief(got))
		}
	}
}

func readOnly(t *testing.T, s Server) {
	r := join(t, s, "reader", options{readOnly: true})
	st := r.state(t, "waiting for a bucket", func(st bus.State) bool { return st.Waiting != "" && st.Refused == "" })
	r.fails(t, "write without the right", fault.Denied, nil, put("a", "1"))
	src, _ := s.Connect(t, false)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for limit := time.After(deadline); ; {
		_, err := src.Look(t.Context())
		if fault.Of(err) == fault.NotFound {
			break
		}
		select {
		case <-poll.C:
		case <-limit:
			t.Fatalf("a reader made a bucket (%v), its state was %+v", err, st)
		}
	}
	w := writer(t, s)
	r.at(t, w.apply(t, put("a", "1")))
}
