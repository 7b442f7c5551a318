package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// Collaborators of a runner.
type (
	starter interface {
		Start(ctx context.Context, p fleet.Process) (running, error)
		LastWords(name string) string
		// Forget ends what a process that has ended left for its next start.
		Forget(p fleet.Process) error
	}
	checker interface {
		Probe(ctx context.Context, p fleet.Process) error
	}
)

// stopGrace is how long a process has between the request to end and its end by
// force.
const stopGrace = 4 * time.Second

// order is a request to a runner: to send the process a signal, if there is one;
// else to have it up, from a new start if restart is set, or down, by force when by
// has come, if it is set and before stopGrace is over. done is closed when it is
// carried out: for down when the process has ended, else at once.
type order struct {
	by      time.Time
	signal  syscall.Signal
	up      bool
	restart bool
	done    chan struct{}
}

// runner keeps one process as it is wanted to be. Only Run touches its state.
type runner struct {
	process fleet.Process
	start   starter
	check   checker
	board   *board
	log     *slog.Logger
	orders  chan order // capacity 0: who gives an order knows that it was taken

	wanted   bool
	again    bool // after the stop under way, start
	now      running
	began    time.Time
	backoff  fleet.Backoff
	pause    <-chan time.Time // before the next start
	force    <-chan time.Time // until the end by force
	probes   chan error       // results for the process that runs
	unprobe  context.CancelFunc
	stoppers []chan struct{} // to close at the end of the process
}

func newRunner(p fleet.Process, start starter, check checker, b *board, log *slog.Logger) *runner {
	return &runner{
		process: p, start: start, check: check, board: b, log: log.With("process", p.Name),
		orders: make(chan order), wanted: !p.Manual, unprobe: func() {},
	}
}

// Run keeps the process as wanted until ctx ends. It does not stop the process
// then: whoever ends ctx has given the order to stop before, or ends everything.
func (r *runner) Run(ctx context.Context) error {
	defer func() { r.unprobe() }()
	for {
		changed := r.advance(ctx)
		select {
		case <-ctx.Done():
			return nil
		case o := <-r.orders:
			r.obey(o)
		case <-changed:
		case <-r.pause:
			r.pause = nil
		case <-r.force:
			r.force = nil
			r.signal(syscall.SIGKILL)
		case err := <-r.probes:
			r.probed(err)
		case <-r.ended():
			r.bury()
		}
	}
}

func (r *runner) ended() <-chan struct{} {
	if r.now == nil {
		return nil
	}
	return r.now.Done()
}

// advance starts the process if it is wanted and nothing stands in the way. The
// channel it returns is not nil while other processes stand in the way.
func (r *runner) advance(ctx context.Context) <-chan struct{} {
	if !r.wanted || r.now != nil || r.pause != nil {
		return nil
	}
	missing, changed := r.board.unready(r.process.After)
	if len(missing) > 0 {
		r.show(fleet.Waiting, "for "+strings.Join(missing, ", "))
		return changed
	}
	now, err := r.start.Start(ctx, r.process)
	if err != nil {
		r.log.Error("did not start", "error", err)
		r.retry(0, false, err.Error())
		return nil
	}
	r.now, r.began = now, time.Now()
	machine, local := now.PIDs()
	r.log.Info("started", "pid", machine)
	r.board.update(r.process.Name, r.began, func(s *fleet.Status) {
		s.Phase, s.PID, s.LocalPID = fleet.Starting, machine, local
	})
	r.probe(ctx)
	return nil
}

// probe asks in the background whether the process is ready, for as long as it runs.
func (r *runner) probe(ctx context.Context) {
	ctx, r.unprobe = context.WithCancel(ctx)
	results := make(chan error)
	r.probes = results
	go func() {
		for p := newPace(); ; {
			err := r.check.Probe(ctx, r.process)
			pause, counts := p.next(err == nil)
			if counts {
				select {
				case results <- err:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (r *runner) probed(err error) {
	before := r.board.phase(r.process.Name)
	switch {
	case err != nil && before.CameUp():
		why := strings.TrimSuffix(err.Error(), " yet") // it did before
		if before == fleet.Up {
			r.log.Warn("no longer ready", "why", why)
		}
		r.show(fleet.Unready, why)
	case err != nil:
		r.show(fleet.Starting, err.Error())
	case before != fleet.Up:
		r.log.Info("ready", "took", time.Since(r.began), "again", before == fleet.Unready)
		r.board.update(r.process.Name, time.Now(), func(s *fleet.Status) {
			s.Phase, s.Failures, s.LastWords = fleet.Up, 0, ""
		})
	}
}

func (r *runner) obey(o order) {
	switch {
	case o.signal != 0:
		r.signal(o.signal)
		close(o.done)
	case o.up && !o.restart:
		r.wanted = true
		if r.board.phase(r.process.Name) == fleet.Stopping {
			r.again = true
		}
		close(o.done)
	case o.restart:
		r.wanted, r.pause, r.again = true, nil, r.now != nil
		r.stop(stopGrace)
		close(o.done)
	default:
		r.wanted, r.pause, r.again = false, nil, false
		if r.now == nil {
			r.rest() // after an end that nobody asked for, too, which leaves an Envoy
			close(o.done)
			return
		}
		r.stoppers = append(r.stoppers, o.done)
		grace := stopGrace
		if !o.by.IsZero() {
			grace = min(grace, time.Until(o.by))
		}
		r.stop(grace)
	}
}

// stop asks the process to end, once: to many programs a second request means at once.
func (r *runner) stop(grace time.Duration) {
	if r.now == nil || r.force != nil {
		return
	}
	r.endProbes()
	r.show(fleet.Stopping, "")
	r.signal(syscall.SIGTERM)
	r.force = time.After(grace)
}

func (r *runner) signal(sig syscall.Signal) {
	if r.now == nil {
		return
	}
	if err := r.now.Signal(sig); err != nil {
		r.log.Debug("not signalled", "signal", sig, "error", err)
	}
}

// bury takes note of the end of the process.
func (r *runner) bury() {
	exit, ran := r.now.Exit(), time.Since(r.began)
	phase := r.board.phase(r.process.Name)
	asked := phase == fleet.Stopping
	r.log.Info("ended", "how", exit, "after", ran, "asked", asked)
	r.endProbes()
	r.now, r.force = nil, nil
	defer func() {
		for _, done := range r.stoppers {
			close(done)
		}
		r.stoppers = nil
	}()
	switch {
	case !r.wanted:
		r.rest()
	case asked && r.again:
		r.again = false
		r.board.update(r.process.Name, time.Now(), func(s *fleet.Status) {
			s.Phase, s.PID, s.LocalPID = fleet.Waiting, 0, 0
			s.Restarts++
		})
	default:
		r.retry(ran, phase.CameUp(), exit)
	}
}

func (r *runner) endProbes() {
	r.unprobe()
	r.probes = nil
}

// rest sees to it that nothing of a process that is not wanted runs on.
func (r *runner) rest() {
	if err := r.start.Forget(r.process); err != nil {
		r.log.Warn("its Envoy may run on", "error", err)
	}
	r.board.update(r.process.Name, time.Now(), func(s *fleet.Status) {
		s.Phase, s.PID, s.LocalPID = fleet.Stopped, 0, 0
	})
}

// retry arranges for the next start of a process that ended by itself.
func (r *runner) retry(ran time.Duration, cameUp bool, why string) {
	pause := r.backoff.Next(ran, cameUp)
	r.pause = time.After(pause)
	words := r.start.LastWords(r.process.Name)
	r.board.update(r.process.Name, time.Now(), func(s *fleet.Status) {
		s.Phase, s.PID, s.LocalPID = fleet.Failing, 0, 0
		s.Detail = fmt.Sprintf("%s; starts again in %v", why, pause)
		s.LastWords = words
		s.Failures++
		s.Restarts++
	})
}

func (r *runner) show(phase fleet.Phase, detail string) {
	r.board.update(r.process.Name, time.Now(), func(s *fleet.Status) {
		s.Phase, s.Detail = phase, detail
	})
}
