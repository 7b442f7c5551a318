package envoy

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Watch asks Envoy again and again whether it is ready, and keeps the answer.
type Watch struct {
	admin   *Admin
	process *Process
	want    Wanted
	log     *slog.Logger

	mu      sync.Mutex
	state   State
	pid     int // of the Envoy that gave state
	waiting string
	changed chan struct{} // closed and replaced when pid or waiting changes
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

// Changed returns a channel that is closed when what State says about readiness is no
// longer the same.
func (w *Watch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// How often Envoy is asked: a start is followed closely; a proxy that is ready stays so
// unless its process ends, and that is seen when it happens.
const (
	askStarting = 100 * time.Millisecond
	askReady    = 10 * time.Second
)

// Run asks until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	for {
		changed := w.process.Changed()
		pid, _ := w.process.PID()
		pause := askReady
		if w.ask(ctx, pid) != "" {
			pause = askStarting
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(pause):
		}
	}
}

func (w *Watch) ask(ctx context.Context, pid int) string {
	s, waiting := State{}, "Envoy: it is not running"
	if pid != 0 {
		var err error
		if s, err = w.admin.State(ctx); err != nil {
			waiting = "Envoy: it does not answer yet"
			w.log.Debug("Envoy's state", "error", err)
		} else {
			waiting = w.want.Waiting(s, time.Now())
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting != w.waiting || pid != w.pid {
		w.log.Info("proxy", "ready", waiting == "", "waiting_for", waiting, "pid", pid)
		close(w.changed)
		w.changed = make(chan struct{})
	}
	w.state, w.pid, w.waiting = s, pid, waiting
	return waiting
}
