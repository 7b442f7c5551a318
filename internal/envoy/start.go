package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Files in a Process's folder.
const (
	bootstrapFile = "envoy.json"
	logFile       = "envoy.log"
	oldLogFile    = "envoy.log.1"
)

// maxLog is the size from which the log is put aside at the next start.
const maxLog = 16 << 20

func (p *Process) file(name string) string { return filepath.Join(p.cfg.Dir, name) }

// start writes what Envoy needs and starts it.
func (p *Process) start() (*handle, error) {
	if err := os.MkdirAll(p.cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("Envoy's folder: %w", err)
	}
	if err := replaceFile(p.file(bootstrapFile), p.cfg.Bootstrap); err != nil {
		return nil, fmt.Errorf("Envoy's bootstrap: %w", err)
	}
	if err := os.Remove(AdminSocket(p.cfg.Dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("stale admin socket: %w", err)
	}
	out, err := p.openLog()
	if err != nil {
		return nil, err
	}
	defer out.Close() // Envoy has its own
	if err := raiseFiles(); err != nil {
		return nil, err
	}
	cmd := exec.Command(p.cfg.Binary, p.arguments()...) // the configured binary; it must outlive us
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, p.cfg.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, p.cfg.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	h := child(cmd)
	id, err := Identify(cmd.Process.Pid)
	if err == nil { // else it has ended already, and Run sees that
		err = p.remember(id)
	}
	if err != nil {
		p.log.Warn("Envoy's process id not kept", "error", err)
	}
	p.mu.Lock()
	p.starts++
	p.earlier = false
	p.mu.Unlock()
	p.log.Info("Envoy started", "pid", cmd.Process.Pid)
	return h, nil
}

// listenerDrain is how long what is under way on a listener that changed may take to end;
// Envoy cuts it off then. A connection that could take another request is closed with the
// answer to its next one.
const listenerDrain = time.Minute

func (p *Process) arguments() []string {
	level := p.cfg.LogLevel
	if level == "" {
		level = "warning"
	}
	return []string{
		"-c", p.file(bootstrapFile),
		"--concurrency", strconv.Itoa(max(1, p.cfg.Concurrency)),
		"--disable-hot-restart",
		"--log-level", level,
		"--drain-time-s", strconv.Itoa(int(max(listenerDrain, p.cfg.DrainTime) / time.Second)),
		"--drain-strategy", "immediate",
	}
}

func (p *Process) openLog() (*os.File, error) {
	if st, err := os.Stat(p.file(logFile)); err == nil && st.Size() > maxLog {
		if err := os.Rename(p.file(logFile), p.file(oldLogFile)); err != nil {
			return nil, fmt.Errorf("put Envoy's log aside: %w", err)
		}
	}
	f, err := os.OpenFile(p.file(logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("Envoy's log: %w", err)
	}
	return f, nil
}

// takeOver returns the Envoy that an earlier process left in the folder, nil if there is
// none that can be used. One that was started from another bootstrap, that drains, or
// that does not answer, is stopped.
func (p *Process) takeOver(ctx context.Context) (*handle, error) {
	id, answers := p.find(ctx)
	h := stranger(id)
	if h == nil {
		return nil, nil
	}
	old, err := os.ReadFile(p.file(bootstrapFile))
	if answers && err == nil && bytes.Equal(old, p.cfg.Bootstrap) {
		p.log.Info("Envoy taken over", "pid", id.PID)
		return h, p.remember(id)
	}
	p.log.Info("Envoy of an earlier start is stopped", "pid", id.PID, "answers", answers)
	p.set(nil) // nobody waits for that one to be ready
	return nil, p.stop(ctx, h)
}

// find looks for a running Envoy of ours: the one behind the admin socket, else the one
// of the pid file. answers says that it is the first, is our node, and does not drain:
// what drains takes nothing new, for good.
func (p *Process) find(ctx context.Context) (id ProcID, answers bool) {
	info, err := p.admin.Info(ctx)
	if err == nil && info.NodeID == p.cfg.NodeID {
		if pid, err := p.admin.Process(ctx); err == nil {
			if id, err := Identify(pid); err == nil {
				return id, info.State != "DRAINING"
			}
		}
	}
	id, _ = Noted(p.cfg.Dir) // without a note there is none to be found
	return id, false
}

func (p *Process) forget() error {
	for _, name := range []string{p.file(pidFile), AdminSocket(p.cfg.Dir)} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("after Envoy: %w", err)
		}
	}
	return nil
}

// replaceFile writes a file that readers see old or new, never in between; mode 0600.
func replaceFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err // the caller says which
	}
	return os.Rename(tmp, path) // the caller says which
}
