package envoy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ProcessConfig says how to run Envoy.
type ProcessConfig struct {
	// Binary is the path of Envoy.
	Binary string
	// Dir holds the bootstrap, the process id, the log and the admin socket. Only one
	// Process may use it at a time.
	Dir       string
	NodeID    string
	Bootstrap []byte
	// Concurrency is the number of worker threads, at least 1.
	Concurrency int
	// LogLevel is one of Envoy's; "" is "warning".
	LogLevel string
	// DrainTime is how long connections may take to end; Envoy is stopped sooner when
	// it has none.
	DrainTime time.Duration
	// StopTime is how long Envoy may take from SIGTERM to its end.
	StopTime time.Duration
	// Env is added to PATH; Envoy sees nothing else of our environment.
	Env []string
}

// AdminSocket returns where the Envoy of dir has its admin socket.
func AdminSocket(dir string) string { return filepath.Join(dir, "admin.sock") }

// Process keeps one Envoy running. Envoy is in a session of its own and outlives us if
// we are killed: the next Process with the same Dir and Bootstrap takes it over as it
// is. Methods are safe for concurrent use.
type Process struct {
	cfg   ProcessConfig
	admin *Admin
	log   *slog.Logger

	mu      sync.Mutex
	running *handle
	starts  int
	earlier bool          // what Earlier reports
	changed chan struct{} // closed and replaced when running or earlier changes
}

// NewProcess starts nothing yet.
func NewProcess(cfg ProcessConfig, admin *Admin, log *slog.Logger) *Process {
	return &Process{cfg: cfg, admin: admin, log: log, earlier: true, changed: make(chan struct{})}
}

// PID returns the process id of Envoy, 0 while there is none, and how many times one
// was started, adoptions not counted.
func (p *Process) PID() (pid, starts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0, p.starts
	}
	return p.running.proc.Pid, p.starts
}

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	// settled is how long an Envoy must have lived for its end to count as the first.
	settled = 30 * time.Second
)

// Run adopts or starts Envoy, starts it again when it ends, and drains and stops it
// when ctx ends. Errors: the folder or the binary cannot be used.
func (p *Process) Run(ctx context.Context) error {
	h, err := p.takeOver(ctx)
	if err != nil {
		return err
	}
	if h == nil {
		if h, err = p.start(); err != nil {
			return err
		}
	}
	for pause := firstPause; ; {
		begun := time.Now()
		p.set(h)
		select {
		case <-ctx.Done():
			return p.stop(ctx, h)
		case <-h.exited:
		}
		p.set(nil)
		if time.Since(begun) > settled {
			pause = firstPause
		}
		p.log.Error("Envoy ended", "pid", h.proc.Pid, "how", h.how, "log", p.file(logFile), "again_in", pause)
		if h = p.restart(ctx, &pause); h == nil {
			return nil
		}
	}
}

// restart waits and starts until it succeeds; nil when ctx ended.
func (p *Process) restart(ctx context.Context, pause *time.Duration) *handle {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(*pause):
		}
		*pause = min(2**pause, lastPause)
		h, err := p.start()
		if err == nil {
			return h
		}
		p.log.Error("Envoy not started", "error", err, "again_in", *pause)
	}
}

func (p *Process) set(h *handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = h
	p.earlier = p.earlier && h != nil
	close(p.changed)
	p.changed = make(chan struct{})
}

// Earlier reports whether Envoy is one that an earlier process left, or, before Run has
// looked for one, may be. What was said of that one then, may still be so.
func (p *Process) Earlier() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.earlier
}

// Changed returns a channel that is closed when Envoy was started, taken over, given up,
// or has ended.
func (p *Process) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Drain makes Envoy's health check fail and its listeners finish; it goes on running
// until Run's context ends.
func (p *Process) Drain(ctx context.Context) error {
	p.log.Info("draining")
	return p.admin.Drain(ctx)
}

// stop drains, then ends Envoy, by SIGKILL if need be. ctx is over already.
func (p *Process) stop(ctx context.Context, h *handle) error {
	ctx = context.WithoutCancel(ctx)
	drain, cancel := context.WithTimeout(ctx, p.cfg.DrainTime)
	defer cancel()
	if p.cfg.DrainTime > 0 && p.Drain(drain) == nil {
		p.waitIdle(drain, h)
	}
	if err := h.end(p.cfg.StopTime); err != nil {
		return fmt.Errorf("stop Envoy: %w", err)
	}
	p.set(nil)
	p.log.Info("Envoy stopped", "how", h.how)
	return p.forget()
}

// waitIdle returns when Envoy has no connection, or ctx is over, or Envoy is.
func (p *Process) waitIdle(ctx context.Context, h *handle) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if n, err := p.admin.Connections(ctx); err == nil && n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-h.exited:
			return
		case <-tick.C:
		}
	}
}

// end sends SIGTERM, waits, and sends SIGKILL.
func (h *handle) end(patience time.Duration) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := h.signal(sig); err != nil {
			return err
		}
		select {
		case <-h.exited:
			return nil
		case <-time.After(patience):
		}
	}
	return errors.New("it is there after SIGKILL")
}
