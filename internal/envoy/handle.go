package envoy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// handle is a running Envoy, a child of ours or one that an earlier process left.
type handle struct {
	proc   *os.Process
	exited chan struct{} // closed when it has ended
	how    string        // read after exited is closed
}

func (h *handle) signal(sig os.Signal) error {
	if err := h.proc.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", h.proc.Pid, err)
	}
	return nil
}

// child waits for a command that was started.
func child(cmd *exec.Cmd) *handle {
	h := &handle{proc: cmd.Process, exited: make(chan struct{})}
	go func() {
		defer close(h.exited)
		h.how = "exit status 0"
		if err := cmd.Wait(); err != nil {
			h.how = err.Error()
		}
	}()
	return h
}

// lookEvery is how often a process that is not our child is asked whether it lives.
const lookEvery = 200 * time.Millisecond

// stranger watches a process that is not our child. Nil if id is not running.
func stranger(id ProcID) *handle {
	proc, err := os.FindProcess(id.PID) // holds a pidfd: signals cannot hit a successor
	if err != nil {
		return nil
	}
	if now, err := Identify(id.PID); err != nil || now != id {
		_ = proc.Release()
		return nil
	}
	h := &handle{proc: proc, exited: make(chan struct{})}
	go func() {
		defer close(h.exited)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for gone := false; !gone; {
			<-tick.C
			now, err := Identify(id.PID)
			gone = err != nil || now != id
		}
		h.how = "it was not our child"
	}()
	return h
}

// raiseFiles lets the children have as many open files as the system allows: an edge
// proxy holds two per connection.
func raiseFiles() error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("open files limit: %w", err)
	}
	lim.Cur = lim.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("open files limit: %w", err)
	}
	return nil
}
