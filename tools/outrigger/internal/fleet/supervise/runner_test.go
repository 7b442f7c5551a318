package supervise

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// stage is a world of processes that tests direct.
type stage struct {
	board *board

	mu      sync.Mutex
	started []time.Time
	current *actor
	refuse  error // for the next starts
	unready error // what probes say
	deaf    bool  // ends only by force
	swept   int   // how often the Envoy that was left was ended
	// When the process was asked to end, and when it was forced to.
	asked, forced []time.Time
}

// actor plays a process.
type actor struct {
	stage *stage
	pid   int
	done  chan struct{}
	exit  string
}

func (a *actor) PIDs() (machine, local int) { return 1000 + a.pid, a.pid }
func (a *actor) Done() <-chan struct{}      { return a.done }
func (a *actor) Exit() string               { return a.exit }

func (a *actor) Signal(sig syscall.Signal) error {
	switch sig {
	case syscall.SIGTERM:
		a.stage.asked = append(a.stage.asked, time.Now())
	case syscall.SIGKILL:
		a.stage.forced = append(a.stage.forced, time.Now())
	}
	if sig == syscall.SIGTERM && a.stage.deaf {
		return nil
	}
	a.end("ended by " + sig.String())
	return nil
}

func (a *actor) end(how string) {
	select {
	case <-a.done:
	default:
		a.exit = how
		close(a.done)
	}
}

func (s *stage) Start(context.Context, fleet.Process) (running, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, time.Now())
	if s.refuse != nil {
		return nil, s.refuse
	}
	s.current = &actor{stage: s, pid: len(s.started), done: make(chan struct{})}
	return s.current, nil
}

func (s *stage) LastWords(string) string { return "last words" }

func (s *stage) Forget(fleet.Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.swept++
	return nil
}

func (s *stage) Probe(context.Context, fleet.Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unready
}

func (s *stage) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// play runs the runner of the last of the processes in a bubble of virtual time.
func play(t *testing.T, processes []fleet.Process, story func(t *testing.T, s *stage, r *runner)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{board: newBoard(fleet.Plan{Processes: processes}, time.Now())}
		r := newRunner(processes[len(processes)-1], s, s, s.board, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		story(t, s, r)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func (s *stage) row(name string) fleet.Status {
	rows, _ := s.board.read()
	return rows[s.board.index[name]]
}

func (s *stage) want(t *testing.T, name string, phase fleet.Phase, detail string) {
	t.Helper()
	synctest.Wait()
	if row := s.row(name); row.Phase != phase || row.Detail != detail {
		t.Errorf("%s is %s (%s), want %s (%s)", name, row.Phase, row.Detail, phase, detail)
	}
}

func command(t *testing.T, r *runner, o order) chan struct{} {
	t.Helper()
	o.done = make(chan struct{})
	r.orders <- o
	synctest.Wait()
	return o.done
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

var one = []fleet.Process{{Name: "one"}}

func TestRunnerWaitsForWhatComesBefore(t *testing.T) {
	play(t, []fleet.Process{{Name: "base"}, {Name: "one", After: []string{"base"}}}, func(t *testing.T, s *stage, _ *runner) {
		s.want(t, "one", fleet.Waiting, "for base")
		s.set(func() { s.unready = errors.New("not yet") })
		s.board.update("base", time.Now(), func(row *fleet.Status) { row.Phase = fleet.Up })
		s.want(t, "one", fleet.Starting, "not yet")
		s.set(func() { s.unready = nil })
		time.Sleep(maxProbe)
		s.want(t, "one", fleet.Up, "")
		if row := s.row("one"); row.PID != 1001 || row.LocalPID != 1 {
			t.Errorf("pids are %d and %d, want 1001 and 1", row.PID, row.LocalPID)
		}
	})
}

func TestRunnerStartsAgainWithGrowingPauses(t *testing.T) {
	play(t, one, func(t *testing.T, s *stage, _ *runner) {
		began := time.Now()
		for range 3 {
			s.current.end("exit status 1")
			synctest.Wait()
			if row := s.row("one"); row.Phase != fleet.Failing || row.LastWords != "last words" || row.PID != 0 {
				t.Errorf("after its end: %+v", row)
			}
			time.Sleep(time.Second) // more than the third pause
			s.want(t, "one", fleet.Up, "")
		}
		var pauses []time.Duration
		for i, at := range s.started[1:] {
			pauses = append(pauses, at.Sub(began)-time.Duration(i)*time.Second)
		}
		want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}
		if diff := cmp.Diff(want, pauses); diff != "" {
			t.Errorf("pauses (-want +got):\n%s", diff)
		}
		if got := s.row("one").Restarts; got != 3 {
			t.Errorf("%d restarts, want 3", got)
		}
	})
}

func TestRunnerCountsFailuresUntilReady(t *testing.T) {
	play(t, one, func(t *testing.T, s *stage, _ *runner) {
		s.set(func() { s.refuse = errors.New("no such program") })
		s.current.end("exit status 1")
		time.Sleep(250 * time.Millisecond) // the first pause, and half of the second
		s.want(t, "one", fleet.Failing, "no such program; starts again in 200ms")
		if got := s.row("one").Failures; got != 2 {
			t.Errorf("%d failures, want 2", got)
		}
		s.set(func() { s.refuse = nil })
		time.Sleep(time.Second)
		s.want(t, "one", fleet.Up, "")
		if row := s.row("one"); row.Failures != 0 || row.LastWords != "" {
			t.Errorf("when ready: %d failures, last words %q", row.Failures, row.LastWords)
		}
	})
}

func TestRunnerStopsByForceIfNeedBe(t *testing.T) {
	play(t, one, func(t *testing.T, s *stage, r *runner) {
		s.deaf = true
		done := command(t, r, order{})
		s.want(t, "one", fleet.Stopping, "")
		time.Sleep(stopGrace - time.Millisecond)
		if synctest.Wait(); closed(done) {
			t.Fatal("stop was carried out before the time to end was over")
		}
		time.Sleep(time.Millisecond)
		s.want(t, "one", fleet.Stopped, "")
		if !closed(done) {
			t.Error("stop is not carried out")
		}
		time.Sleep(time.Minute)
		if len(s.started) != 1 {
			t.Errorf("started %d times, want once", len(s.started))
		}
		if done := command(t, r, order{}); !closed(done) {
			t.Error("stop of a stopped process is not carried out at once")
		}
		command(t, r, order{up: true})
		s.want(t, "one", fleet.Up, "")
	})
}

func TestRunnerRestartsWithoutPause(t *testing.T) {
	play(t, one, func(t *testing.T, s *stage, r *runner) {
		before := time.Now()
		command(t, r, order{up: true, restart: true})
		s.want(t, "one", fleet.Up, "")
		if row := s.row("one"); row.LocalPID != 2 || row.Restarts != 1 || time.Since(before) != 0 {
			t.Errorf("pid %d after %d restarts and %v, want 2 after 1 and no time", row.LocalPID, row.Restarts, time.Since(before))
		}
		command(t, r, order{up: true}) // is up already
		if row := s.row("one"); row.LocalPID != 2 {
			t.Errorf("pid %d after a start of what runs, want 2", row.LocalPID)
		}
	})
}

func TestRunnerStartsAgainWhatIsWantedWhileItStops(t *testing.T) {
	play(t, one, func(t *testing.T, s *stage, r *runner) {
		s.deaf = true
		stop := command(t, r, order{})
		command(t, r, order{up: true})
		s.want(t, "one", fleet.Stopping, "")
		time.Sleep(stopGrace)
		s.want(t, "one", fleet.Up, "")
		if !closed(stop) || s.row("one").LocalPID != 2 {
			t.Errorf("stop carried out: %v, pid %d; want true and 2", closed(stop), s.row("one").LocalPID)
		}
	})
}

func TestRunnerHoldsManualProcesses(t *testing.T) {
	play(t, []fleet.Process{{Name: "one", Manual: true}}, func(t *testing.T, s *stage, r *runner) {
		time.Sleep(time.Minute)
		s.want(t, "one", fleet.Held, "")
		if s.current != nil {
			t.Fatal("was started")
		}
		command(t, r, order{signal: syscall.SIGKILL}) // nothing to signal, no harm
		command(t, r, order{up: true})
		s.want(t, "one", fleet.Up, "")
		command(t, r, order{signal: syscall.SIGKILL})
		s.want(t, "one", fleet.Failing, "ended by killed; starts again in 100ms")
	})
}

func TestRunnerEndsAnEnvoyOnlyOfWhatStaysDown(t *testing.T) {
	play(t, one, func(t *testing.T, s *stage, r *runner) {
		want := func(swept int, when string) {
			t.Helper()
			synctest.Wait()
			s.set(func() {
				if s.swept != swept {
					t.Errorf("%s: its Envoy was ended %d times, want %d", when, s.swept, swept)
				}
			})
		}
		s.current.end("killed")
		time.Sleep(time.Second)
		want(0, "started again after a crash")
		command(t, r, order{up: true, restart: true})
		want(0, "restarted by request")
		s.deaf = true
		command(t, r, order{})
		command(t, r, order{up: true})
		time.Sleep(stopGrace)
		want(0, "started while it stopped")
		stop := command(t, r, order{})
		want(0, "not ended yet")
		time.Sleep(stopGrace)
		want(1, "stopped")
		if !closed(stop) {
			t.Error("stop is not carried out")
		}
		command(t, r, order{up: true})
		s.current.end("killed")
		synctest.Wait()
		command(t, r, order{})
		want(2, "stopped between a crash and the next start")
		s.want(t, "one", fleet.Stopped, "")
	})
}

func TestRunnerFollowsReadiness(t *testing.T) {
	play(t, []fleet.Process{{Name: "base"}, {Name: "one"}}, func(t *testing.T, s *stage, r *runner) {
		s.want(t, "one", fleet.Up, "")
		began := s.row("one").Since
		time.Sleep(time.Minute + steadyProbe/2)
		if row := s.row("one"); row.Since != began {
			t.Errorf("ready since %v, want %v", row.Since, began)
		}
		s.set(func() { s.unready = errors.New("does not answer yet") })
		time.Sleep(steadyProbe/2 + maxProbe/2)
		s.want(t, "one", fleet.Up, "") // may have been late
		time.Sleep(maxProbe)
		s.want(t, "one", fleet.Unready, "does not answer")
		if missing, _ := s.board.unready([]string{"base", "one"}); len(missing) != 1 || missing[0] != "base" {
			t.Errorf("what comes after waits for %q, want base only", missing)
		}
		s.set(func() { s.unready = errors.New("it drains") })
		time.Sleep(steadyProbe)
		s.want(t, "one", fleet.Unready, "it drains")
		s.set(func() { s.unready = nil })
		time.Sleep(steadyProbe)
		s.want(t, "one", fleet.Up, "")
		if row := s.row("one"); row.LocalPID != 1 || row.Restarts != 0 {
			t.Errorf("pid %d after %d restarts, want 1 and none", row.LocalPID, row.Restarts)
		}
		s.set(func() { s.unready = errors.New("it drains") })
		stop := command(t, r, order{})
		time.Sleep(time.Minute)
		s.want(t, "one", fleet.Stopped, "")
		if !closed(stop) {
			t.Error("stop is not carried out")
		}
	})
}
