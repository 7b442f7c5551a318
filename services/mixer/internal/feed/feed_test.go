package feed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/membus"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

func rule(name string, deleted bool) bus.Write {
	return bus.Write{BasedOn: bus.Any, Envelope: &busv1.Envelope{Deleted: deleted, Object: &configv1.Object{
		Kind: "Rule", Metadata: &configv1.Metadata{Namespace: "default", Name: name},
		Spec: &configv1.Object_Rule{Rule: &configv1.Rule{Match: "true"}},
	}}}
}

// TestFollowsTheBus: all that is there after each change, and what was kept when the bus
// is away.
func TestFollowsTheBus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log := telemetry.Discard().Log
		store := membus.New()
		writing, stopWriter := context.WithCancel(t.Context())
		own := store.Store("config")
		w := bus.Open(bus.Config{Name: "config"}, own, own, log)
		writerDone := make(chan error, 1)
		apply := func(writes ...bus.Write) {
			t.Helper()
			synctest.Wait()
			if _, err := w.Apply(t.Context(), writes); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second) // longer than a reader takes to look again
			synctest.Wait()
		}

		var got string
		follow := func() (*Reader, func()) {
			ctx, cancel := context.WithCancel(t.Context())
			b := bus.Open(bus.Config{Name: "config", Keep: bus.Keep{Dir: dir}}, store.Store("config"), nil, log)
			r := New(b, log, func(_ context.Context, objects []*configv1.Object, _ uint64) {
				var names []string
				for _, o := range objects {
					names = append(names, o.GetMetadata().GetName())
				}
				slices.Sort(names)
				got = strings.Join(names, " ")
			})
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			return r, func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("run: %v", err)
				}
			}
		}
		expect := func(when, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}

		r, stop := follow()
		synctest.Wait()
		if r.Waiting() == "" {
			t.Error("there is no bucket and the reader waits for nothing")
		}
		go func() { writerDone <- w.Run(writing, func(bus.Change) {}) }()
		apply(rule("a", false), rule("b", false))
		expect("after a batch", "a b")
		if r.Waiting() != "" {
			t.Errorf("after a change: waits for %q", r.Waiting())
		}
		apply(rule("c", false))
		expect("after another", "a b c")
		apply(rule("a", true))
		expect("after a deletion", "b c")
		stop()

		got = ""
		store.Stop()
		r, stop = follow()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		expect("started without the bus", "b c")
		if r.Waiting() != "" {
			t.Errorf("started from what was kept: waits for %q", r.Waiting())
		}
		stop()
		stopWriter()
		if err := <-writerDone; err != nil {
			t.Errorf("writer: %v", err)
		}
	})
}

// refusing is a bucket that is refused.
type refusing struct{}

func (refusing) Run(ctx context.Context, _ func(bus.Change)) error { <-ctx.Done(); return nil }
func (refusing) State() bus.State                                  { return bus.State{Refused: "it is empty"} }

func TestSaysWhyItWaits(t *testing.T) {
	t.Parallel()
	r := New(refusing{}, telemetry.Discard().Log, nil)
	if got := fmt.Sprint(r.Waiting()); got != "it is empty" {
		t.Errorf("got %q", got)
	}
}
