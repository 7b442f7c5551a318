package envoy

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ProcID names a process for good: process ids are used again, the pair is not.
type ProcID struct {
	PID   int
	Start uint64 // since boot, in clock ticks
}

// Identify returns the id of a process that runs, with the number that /proc has for it.
// Errors: there is none (fs.ErrNotExist, ESRCH), or it has ended and nobody was told yet
// (os.ErrProcessDone).
func Identify(pid int) (ProcID, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ProcID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	// The second field is the command in parentheses, with any byte in it.
	rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(rest) < 20 {
		return ProcID{}, fmt.Errorf("process %d: short stat", pid)
	}
	if rest[0] == "Z" || rest[0] == "X" {
		return ProcID{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	start, err := strconv.ParseUint(rest[19], 10, 64)
	if err != nil {
		return ProcID{}, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return ProcID{pid, start}, nil
}

const (
	pidFile = "envoy.pid" // "<pid> <start time in clock ticks since boot>\n"
	maxNote = 64          // bytes
)

// Noted reads which Envoy a Process with the folder dir runs, or ran last. Whoever owns
// the folder may have put anything there: a reader with more rights checks whose process
// it is. Errors: there is no note (fs.ErrNotExist), or it is none.
func Noted(dir string) (ProcID, error) {
	file, err := os.OpenFile(filepath.Join(dir, pidFile), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ProcID{}, fmt.Errorf("Envoy's pid file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxNote))
	if err != nil {
		return ProcID{}, fmt.Errorf("Envoy's pid file: %w", err)
	}
	var id ProcID
	if _, err := fmt.Sscanf(string(text), "%d %d\n", &id.PID, &id.Start); err != nil {
		return ProcID{}, fmt.Errorf("Envoy's pid file %s: %w", file.Name(), err)
	}
	if id.PID <= 1 {
		return ProcID{}, fmt.Errorf("Envoy's pid file %s: %d is not the pid of an Envoy", file.Name(), id.PID)
	}
	return id, nil
}

func (p *Process) remember(id ProcID) error {
	if err := replaceFile(p.file(pidFile), fmt.Appendf(nil, "%d %d\n", id.PID, id.Start)); err != nil {
		return fmt.Errorf("Envoy's pid file: %w", err)
	}
	return nil
}
