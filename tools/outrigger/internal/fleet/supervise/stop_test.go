package supervise

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// stopped stops a fleet of which some are deaf, in virtual time, and returns what
// happened to each process and how long the whole took.
func stopped(t *testing.T, processes []fleet.Process, deaf ...string) (stages map[string]*stage, took time.Duration) {
	t.Helper()
	stages = map[string]*stage{}
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		plan := fleet.Plan{Processes: processes}
		b := newBoard(plan, time.Now())
		s := &supervisor{plan: plan, log: log, runners: map[string]*runner{}}
		ctx, cancel := context.WithCancel(t.Context())
		var parts sync.WaitGroup
		for _, p := range processes {
			stages[p.Name] = &stage{board: b}
			r := newRunner(p, stages[p.Name], stages[p.Name], b, log)
			s.runners[p.Name] = r
			parts.Go(func() { _ = r.Run(ctx) }) // returns nil
		}
		synctest.Wait()
		for _, name := range deaf {
			stages[name].deaf = true
		}
		began := time.Now()
		s.stopAll(ctx, began)
		took = time.Since(began)
		cancel()
		parts.Wait()
	})
	return stages, took
}

var chain = []fleet.Process{
	{Name: "first", Kind: fleet.KindService},
	{Name: "second", Kind: fleet.KindService, After: []string{"first"}},
	{Name: "third", Kind: fleet.KindService, After: []string{"second"}},
	{Name: "app", Kind: fleet.KindApp},
}

func TestStopOfAFleetThatHangsIsBounded(t *testing.T) {
	stages, took := stopped(t, chain, "first", "second", "third", "app")
	if took > buryLimit {
		t.Errorf("took %v, want %v at most", took, buryLimit)
	}
	for name, s := range stages {
		if len(s.asked) != 1 || len(s.forced) != 1 {
			t.Errorf("%s was asked to end %d times and forced %d times, want once", name, len(s.asked), len(s.forced))
			continue
		}
		if grace := s.forced[0].Sub(s.asked[0]); grace < 1500*time.Millisecond || grace > stopGrace {
			t.Errorf("%s had %v to end", name, grace)
		}
	}
	if grace := stages["app"].forced[0].Sub(stages["app"].asked[0]); grace != stopGrace {
		t.Errorf("what is stopped first had %v to end, want %v", grace, stopGrace)
	}
}

func TestStopGoesInOrder(t *testing.T) {
	stages, took := stopped(t, chain, "third")
	if took != stopGrace {
		t.Errorf("took %v, want %v, what the one that hangs takes", took, stopGrace)
	}
	end := stages["third"].forced[0]
	for name, after := range map[string]bool{"app": false, "second": true, "first": true} {
		if s := stages[name]; len(s.forced) != 0 || s.asked[0].Before(end) == after {
			t.Errorf("%s was asked to end at %v and forced %d times; third ended at %v", name, s.asked, len(s.forced), end)
		}
	}
}
