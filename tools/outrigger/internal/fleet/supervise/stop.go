package supervise

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// When things happen in the stop of a fleet, from its beginning. The whole takes less
// than 9 s, whatever hangs, and yet everything has a while between the request to end
// and the end by force.
const (
	orderlyLimit = 5300 * time.Millisecond // from then on all that are left are asked together
	forceLimit   = 7 * time.Second         // until then processes may end by themselves
	buryLimit    = 7500 * time.Millisecond // until then the ends by force are awaited
	restLimit    = 8200 * time.Millisecond // until then may what nobody runs any more
	restGrace    = 1500 * time.Millisecond // between its request to end and its end by force
	killWait     = 300 * time.Millisecond  // for the last of all
)

// stopAll ends the processes: step by step, one after the other, and, if that takes
// too long, all that are left at once.
func (s *supervisor) stopAll(ctx context.Context, began time.Time) {
	steps, err := fleet.StopOrder(s.plan.Processes)
	if err != nil {
		return // the plan was checked; endRest ends them all
	}
	orderly, cancel := context.WithDeadline(ctx, began.Add(orderlyLimit))
	defer cancel()
	down := order{by: began.Add(forceLimit)}
	for i, step := range steps {
		err := give(orderly, s.running(step), down)
		if err == nil {
			continue
		}
		s.log.Warn("did not end in time, the rest is stopped at once", "error", err)
		last, cancel := context.WithDeadline(ctx, began.Add(buryLimit))
		defer cancel()
		if err := give(last, s.running(slices.Concat(steps[i:]...)), down); err != nil {
			s.log.Warn("did not end in time", "error", err)
		}
		return
	}
}

// running returns those who run processes.
func (s *supervisor) running(processes []fleet.Process) []*runner {
	runners := make([]*runner, 0, len(processes))
	for _, p := range processes {
		runners = append(runners, s.runners[p.Name])
	}
	return runners
}

// endRest ends what is left, such as Envoys whose parents were killed: by asking,
// then by force, at until if not before.
func (s *supervisor) endRest(until time.Time) {
	for _, try := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, min(restGrace, time.Until(until))}, {unix.SIGKILL, killWait}} {
		if !s.reaper.collect() {
			return
		}
		if err := unix.Kill(-1, try.signal); err != nil { // all but the caller, in this process namespace
			s.log.Warn("did not signal all", "signal", try.signal, "error", err)
		}
		s.awaitEnd(try.wait)
	}
}

// awaitEnd collects processes until none is left or the time is over.
func (s *supervisor) awaitEnd(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.reaper.collect() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
