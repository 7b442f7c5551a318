package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/enter"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/logfile"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/netns"
)

// EnterCommand is the argument that makes the command a process to be; see
// package enter.
const EnterCommand = "enter-fleet"

// self is the running program, whatever has become of the file it came from.
const self = "/proc/self/exe"

// logLimit is the size of a log file, in bytes; there are two per process.
const logLimit = 10 << 20

// running is a process that was started.
type running interface {
	// PIDs are its numbers as the machine counts and inside the namespace.
	PIDs() (machine, local int)
	Signal(sig syscall.Signal) error
	// Done is closed at its end; Exit then says how it ended.
	Done() <-chan struct{}
	Exit() string
}

// launcher starts the processes of the plan.
type launcher struct {
	reaper *reaper
	places map[string]place // by host name; "" is the hub
	joins  *joiner
	kept   *keeper
	user   bool // only one uid exists
	log    *slog.Logger
	// parts are the goroutines that serve processes; they end with the processes.
	parts sync.WaitGroup

	mu   sync.Mutex
	logs map[string]*logfile.File // by process name
}

// place is where the processes of one host run.
type place struct {
	space *netns.Space
	host  string
	binds []enter.Bind
}

// child is a running process.
type child struct {
	machine, local int
	done           chan struct{}
	exit           string // set before done is closed

	mu     sync.Mutex
	handle int // pidfd; -1 when the process has ended
}

func (c *child) PIDs() (machine, local int) { return c.machine, c.local }
func (c *child) Done() <-chan struct{}      { return c.done }
func (c *child) Exit() string               { return c.exit }

func (c *child) Signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handle < 0 {
		return errors.New("the process has ended")
	}
	if err := unix.PidfdSendSignal(c.handle, sig, nil, 0); err != nil {
		return fmt.Errorf("send %v: %w", sig, err)
	}
	return nil
}

func (c *child) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = unix.Close(c.handle) // nothing was written to it
	c.handle = -1
}

// Start starts a process and what serves it: the copying of its output and the
// handing out of join tokens.
func (l *launcher) Start(ctx context.Context, p fleet.Process) (running, error) {
	log, err := l.open(p)
	if err != nil {
		return nil, err
	}
	if p.Config != "" {
		if err := writeOwned(p.Config, []byte(p.Text), p.UID); err != nil {
			return nil, err
		}
	}
	log.Forget()
	space := l.places[p.Host].space
	sockets, err := l.kept.of(p, space)
	if err != nil {
		return nil, err
	}
	files, err := openFiles(space, p.ID != "", sockets)
	if err != nil {
		return nil, err
	}
	defer files.closeChildEnds()
	ctx, cancel := context.WithCancel(ctx)
	drained := make(chan struct{})
	c, err := l.fork(p, files, drained, cancel)
	if err != nil {
		cancel()
		files.closeOwnEnds()
		return nil, err
	}
	// The output is read until the last holder of the other end is gone, which
	// may be an Envoy that outlives the process: it must be able to write on.
	l.parts.Go(func() {
		defer close(drained)
		defer files.output.Close()
		if _, err := io.Copy(tolerant{log}, files.output); err != nil {
			l.log.Warn("output is no longer read", "process", p.Name, "error", err)
		}
	})
	l.parts.Go(func() {
		defer files.spec.Close()
		if err := json.NewEncoder(files.spec).Encode(l.spec(p)); err != nil {
			l.log.Warn("was not told what to become", "process", p.Name, "error", err)
		}
	})
	if files.join != nil {
		l.parts.Go(func() { l.joins.serve(ctx, files.join, p.ID) })
	}
	return c, nil
}

// fork starts the process. At its end cancel is called; drained is closed when
// all its output has been read.
func (l *launcher) fork(p fleet.Process, files *childFiles, drained <-chan struct{}, cancel context.CancelFunc) (*child, error) {
	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: files.numbers(),
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	}
	pid, end, err := l.reaper.start(func() (int, error) {
		return syscall.ForkExec(self, []string{"outrigger", EnterCommand}, attr)
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	c := &child{local: pid, machine: machinePID(pidfd), handle: pidfd, done: make(chan struct{})}
	l.parts.Go(func() {
		c.exit = describe(<-end)
		c.release()
		cancel()
		select {
		case <-drained:
		case <-time.After(drainTime):
		}
		close(c.done)
	})
	return c, nil
}

func (l *launcher) spec(p fleet.Process) enter.Spec {
	at := l.places[p.Host]
	spec := enter.Spec{
		Path: p.Path, Args: p.Args, Env: p.Env, Dir: p.Dir, UID: p.UID, Groups: p.Groups,
		Hostname: at.host, Binds: at.binds, Join: p.ID != "",
		Sockets: len(p.Listen),
	}
	if p.Kind == fleet.KindSidecar && l.user {
		// To mark its traffic, the only way to tell it where it has no uid.
		spec.Capabilities = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE}
	}
	return spec
}

// tolerant drops what cannot be written: a full disk must not stop a process.
type tolerant struct {
	log io.Writer
}

func (t tolerant) Write(text []byte) (int, error) {
	_, _ = t.log.Write(text)
	return len(text), nil
}

// open returns the process's log file, which stays open over restarts.
func (l *launcher) open(p fleet.Process) (*logfile.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if log := l.logs[p.Name]; log != nil {
		return log, nil
	}
	log, err := logfile.Open(p.Log, logLimit)
	if err != nil {
		return nil, err
	}
	l.logs[p.Name] = log
	return log, nil
}

// LastWords are the last lines that a process printed since the last call of
// Forget.
func (l *launcher) LastWords(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if log := l.logs[name]; log != nil {
		return log.Tail(lastLines)
	}
	return ""
}

const (
	// lastLines is how much of a log an error shows.
	lastLines = 12
	// drainTime is how long the end of a process waits for its last words, which
	// never come to an end while an Envoy that it left behind holds the pipe.
	drainTime = 100 * time.Millisecond
)

// machinePID reads a process's number as the machine counts from its descriptor:
// the /proc seen here is that of the machine.
func machinePID(pidfd int) int {
	info, err := os.Open("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0
	}
	defer info.Close()
	for lines := bufio.NewScanner(info); lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), "Pid:"); found {
			pid, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				return 0
			}
			return pid
		}
	}
	return 0
}

func describe(status unix.WaitStatus) string {
	switch {
	case status.Signaled():
		return "killed by signal " + strconv.Itoa(int(status.Signal())) + " (" + status.Signal().String() + ")"
	case status.Exited():
		return "exit status " + strconv.Itoa(status.ExitStatus())
	default:
		return "ended"
	}
}
