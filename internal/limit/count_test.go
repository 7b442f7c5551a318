package limit

import (
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// closer is a connection of which only the end counts.
type closer struct{ net.Conn }

func (closer) Read([]byte) (int, error) { return 1, nil }
func (closer) Close() error             { return io.EOF }

// recount looks at every connection, where the listener only counts.
func recount(l *Listener) (map[string]place, int) {
	places, leaving := map[string]place{}, 0
	for c, evicted := range l.open {
		if evicted {
			leaving++
			continue
		}
		p := places[c.from]
		p.open++
		if !c.heard.Load() {
			p.silent++
		}
		places[c.from] = p
	}
	return places, leaving
}

// overdue tells whether any connection is.
func overdue(l *Listener, now time.Time) bool {
	for c, evicted := range l.open {
		if !evicted && l.overdue(c, now) >= 0 {
			return true
		}
	}
	return false
}

// TestCountsAreRight lets connections of some addresses come, speak and go by chance, and
// looks whether what is counted is so.
func TestCountsAreRight(t *testing.T) {
	const limit, addresses, idle = 12, 4, 20 * time.Second
	l := New(nil, limit, idle)
	now, refusals := time.Unix(1_000_000, 0), 0
	var all []*conn
	for step := range 20_000 {
		now = now.Add(time.Duration(rand.IntN(400)) * time.Millisecond)
		switch i := rand.IntN(max(1, len(all))); rand.IntN(4) {
		case 0, 1:
			c := &conn{Conn: closer{}, of: l, from: strconv.Itoa(rand.IntN(addresses) * rand.IntN(2))}
			c.last.Store(now.UnixNano())
			full, due := len(l.open) == limit, overdue(l, now)
			awaited := l.leaving > 0 && now.Sub(l.evicted) < patience
			got := l.enter(c, now)
			if (got == entered) == full || got == refused && (due || awaited) {
				t.Fatalf("step %d: outcome %d, full %v, somebody overdue %v, somebody about to leave %v", step, got, full, due, awaited)
			}
			if got == entered {
				all = append(all, c)
			}
			if got == refused {
				refusals++
			}
		case 2:
			if len(all) > 0 {
				if _, err := all[i].Read(nil); err != nil {
					t.Fatal(err)
				}
				all[i].last.Store(now.UnixNano())
			}
		case 3:
			if len(all) > 0 && (l.open[all[i]] || rand.IntN(4) == 0) {
				_ = all[i].Close() // says that it did
				all = append(all[:i], all[i+1:]...)
			}
		}
		want, leaving := recount(l)
		got := map[string]place{}
		for from, p := range l.places {
			got[from] = *p
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(place{})); d != "" || leaving != l.leaving {
			t.Fatalf("step %d: %d leave, counted %d; (-looked +counted):\n%s", step, leaving, l.leaving, d)
		}
	}
	if refusals == 0 {
		t.Error("nobody was refused: the test says less than it should")
	}
}

// BenchmarkRefused is what somebody costs who is refused, and comes again.
func BenchmarkRefused(b *testing.B) {
	for name, addresses := range map[string]int{"one address": 1, "many addresses": 4096} {
		b.Run(name, func(b *testing.B) {
			l := New(nil, 4096, time.Minute)
			for i := range 4096 {
				c := &conn{Conn: closer{}, of: l, from: strconv.Itoa(i % addresses)}
				c.used()
				c.heard.Store(true)
				l.add(c)
			}
			again := &conn{Conn: closer{}, of: l, from: "0"}
			again.used()
			for b.Loop() {
				if l.enter(again, time.Now()) != refused {
					b.Fatal("not refused")
				}
			}
		})
	}
}
