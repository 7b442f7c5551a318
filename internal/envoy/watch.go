package envoy

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Watch asks Envoy again and again whether it is ready, and keeps the answer.
type Watch struct {
	admin   asker
	process *Process
	want    Wanted
	log     *slog.Logger

	mu      sync.Mutex
	state   State
	pid     int // of the Envoy that gave state
	waiting string
	known   bool
	met     time.Time     // when an Envoy of an earlier process was first asked
	changed chan struct{} // closed and replaced when pid, waiting or known changes

	whole  time.Time // when state was had; this and the next are Run's alone
	missed bool      // a ready Envoy left the last question without an answer
}

// asker asks Envoy about itself.
type asker interface {
	// State asks for everything, Live for as little as possible.
	State(ctx context.Context) (State, error)
	Live(ctx context.Context) (bool, error)
}

// NewWatch asks nothing yet.
func NewWatch(admin *Admin, process *Process, want Wanted, log *slog.Logger) *Watch {
	return &Watch{admin: admin, process: process, want: want, log: log, waiting: "Envoy: it is not started", changed: make(chan struct{})}
}

// State returns Envoy's last answer, and what it waits for, "" if it is ready. Safe for
// concurrent use.
func (w *Watch) State() (State, string) {
	now, _ := w.process.PID()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == "" && w.pid != now {
		return State{}, "Envoy: it ended and is started again"
	}
	return w.state, w.waiting
}

// Known reports whether State is what Envoy said, rather than what is supposed of an
// Envoy before it was asked. One that an earlier process left is not known before it
// shows that it is ready, or does not for a while: until then that it is not ready
// would be no news of it but of us.
func (w *Watch) Known() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known
}

// Changed returns a channel that is closed when what State says about readiness, or
// Known, is no longer the same.
func (w *Watch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// How often Envoy is asked: a start is followed closely. One that is ready stays so
// unless it ends, which is seen when it happens, or hangs, for which the small question
// is enough.
const (
	askStarting = 100 * time.Millisecond
	askReady    = 2 * time.Second
	askWhole    = 10 * time.Second
	// liveTimeout is how long a ready Envoy may take for the small question.
	liveTimeout = time.Second
	// patience is how long an Envoy of an earlier process may take to show that it is
	// ready.
	patience = 5 * time.Second
)

// Run asks until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	for {
		changed := w.process.Changed()
		pid, _ := w.process.PID()
		pause := w.ask(ctx, pid)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(pause):
		}
	}
}

// ask asks the Envoy with pid, 0 for none, and returns when to ask again.
func (w *Watch) ask(ctx context.Context, pid int) time.Duration {
	s, waiting := State{}, "Envoy: it is not running"
	if pid != 0 {
		ready := w.waiting == "" && w.pid == pid // nobody else writes them
		var err error
		if s, err = w.look(ctx, ready); err != nil {
			w.log.Debug("Envoy's state", "error", err)
			// One answer that is late is no news: the machine may be busy.
			if ready && !w.missed {
				w.missed = true
				return askStarting
			}
			waiting = "Envoy: it does not answer"
		} else {
			waiting = w.want.Waiting(s, time.Now())
		}
	}
	w.missed = false
	w.keep(s, pid, waiting)
	if waiting != "" {
		return askStarting
	}
	return askReady
}

// look asks a ready Envoy for no more than whether it is LIVE, unless it is not, or
// everything is due, or what is known is no longer enough, as when a certificate ended.
func (w *Watch) look(ctx context.Context, ready bool) (State, error) {
	if ready {
		short, cancel := context.WithTimeout(ctx, liveTimeout)
		live, err := w.admin.Live(short)
		cancel()
		if err != nil {
			return State{}, err // ask says of what
		}
		if live && time.Since(w.whole) < askWhole && w.want.Waiting(w.state, time.Now()) == "" {
			return w.state, nil
		}
	}
	s, err := w.admin.State(ctx)
	if err == nil {
		w.whole = time.Now()
	}
	return s, err
}

// keep makes an answer the last one.
func (w *Watch) keep(s State, pid int, waiting string) {
	earlier := w.process.Earlier()
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.known || w.knows(earlier, pid, waiting, time.Now())
	if waiting != w.waiting || pid != w.pid {
		w.log.Info("proxy", "ready", waiting == "", "waiting_for", waiting, "pid", pid)
	}
	if waiting != w.waiting || pid != w.pid || known != w.known {
		close(w.changed)
		w.changed = make(chan struct{})
	}
	w.state, w.pid, w.waiting, w.known = s, pid, waiting, known
}

// knows decides whether waiting is worth believing. w.mu is held.
func (w *Watch) knows(earlier bool, pid int, waiting string, now time.Time) bool {
	if !earlier || waiting == "" {
		return true
	}
	if pid != 0 && w.met.IsZero() {
		w.met = now
	}
	return !w.met.IsZero() && now.Sub(w.met) >= patience
}
