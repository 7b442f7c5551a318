package envoy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
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
func stranger(id procID) *handle {
	proc, err := os.FindProcess(id.pid) // holds a pidfd: signals cannot hit a successor
	if err != nil {
		return nil
	}
	if now, err := identify(id.pid); err != nil || now != id {
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
			now, err := identify(id.pid)
			gone = err != nil || now != id
		}
		h.how = "it was not our child"
	}()
	return h
}

// procID names a process for good: process ids are used again, the pair is not.
type procID struct {
	pid   int
	start uint64 // since boot, in clock ticks
}

// identify returns the id of a process that runs. Errors: there is none, or it is a
// zombie.
func identify(pid int) (procID, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	// The second field is the command in parentheses, with any byte in it.
	rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(rest) < 20 {
		return procID{}, fmt.Errorf("process %d: short stat", pid)
	}
	if rest[0] == "Z" || rest[0] == "X" {
		return procID{}, fmt.Errorf("process %d: it has ended", pid)
	}
	start, err := strconv.ParseUint(rest[19], 10, 64)
	if err != nil {
		return procID{}, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return procID{pid, start}, nil
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
