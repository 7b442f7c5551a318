package mesh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says what to start.
type Config struct {
	Root Root
	// Dir is the folder of everything that is made; empty makes one, which Remove
	// removes. Its path should be short: sockets are inside.
	Dir string
	// Fleet changes the fleet file of the repository; nil leaves it as it is.
	Fleet func(*FleetFile)
	// Before is called when the state folder is there and nothing runs yet, for sockets
	// that the fleet reaches out to; nil for nothing.
	Before func(m *Mesh) error
	// Timeout is how long the fleet may take to become ready; 90 s if 0.
	Timeout time.Duration
	// Loose returns as soon as the fleet has begun to start, for those that cannot
	// become ready by themselves.
	Loose bool
}

// Mesh is a running fleet. Its methods may be called concurrently, but for Start, Stop,
// Kill and Remove.
type Mesh struct {
	Root  Root
	Dir   string // holds fleet.yaml and the state
	State string

	cfg    Config
	own    bool // the folder is ours to remove
	up     *exec.Cmd
	output *tail
	ended  chan struct{} // closed when `outrigger up` has ended
	exit   error         // of it; set before ended is closed

	mu    sync.Mutex
	doors map[string]*Door
}

const startLimit = 90 * time.Second

// New prepares folders and files and starts nothing.
func New(cfg Config) (*Mesh, error) {
	m := &Mesh{Root: cfg.Root, Dir: cfg.Dir, cfg: cfg, doors: map[string]*Door{}}
	if m.Dir == "" {
		dir, err := os.MkdirTemp("", "mesh-")
		if err != nil {
			return nil, fmt.Errorf("folder of the mesh: %w", err)
		}
		m.Dir, m.own = dir, true
	}
	// The services have users of their own, who must get to the state.
	if err := os.Chmod(m.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("folder of the mesh: %w", err)
	}
	m.State = filepath.Join(m.Dir, "s")
	if err := os.MkdirAll(filepath.Join(m.State, "run"), 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	return m, m.WriteFleet(cfg.Fleet)
}

// WriteFleet writes the fleet file for the next Start, with changes; nil for none.
func (m *Mesh) WriteFleet(change func(*FleetFile)) error {
	file, err := ReadFleetFile(m.Root)
	if err != nil {
		return err
	}
	file.Dir = m.Dir
	if change != nil {
		change(file)
	}
	return file.Write(m.fleetPath())
}

func (m *Mesh) fleetPath() string { return filepath.Join(m.Dir, "fleet.yaml") }

// Start runs `outrigger up` and returns when the mesh is ready. When it does not become
// ready the error says what was printed, and nothing is left running.
func (m *Mesh) Start(ctx context.Context) error {
	if m.cfg.Before != nil {
		if err := m.cfg.Before(m); err != nil {
			return err
		}
	}
	ready, err := m.run()
	if err != nil {
		return err
	}
	limit := m.cfg.Timeout
	if limit == 0 {
		limit = startLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if m.cfg.Loose {
		return m.awaitStart(ctx)
	}
	select {
	case <-ready:
		return nil
	case <-m.ended:
		return fmt.Errorf("the mesh did not come up: %w\n%s\n%s", m.exit, m.output, m.Logs(startTail))
	case <-ctx.Done():
		err := fmt.Errorf("the mesh was not ready within %v\n%s\n%s", limit, m.output, m.Logs(startTail))
		return errors.Join(err, m.Stop())
	}
}

// awaitStart waits until the supervisor tells of itself.
func (m *Mesh) awaitStart(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := m.Snapshot(); err == nil && s.PID == m.up.Process.Pid {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.ended:
			return fmt.Errorf("the mesh did not start: %w\n%s", m.exit, m.output)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the mesh did not start\n%s", m.output), m.Stop())
		}
	}
}

// run starts the process; ready is closed when it says that the mesh is.
func (m *Mesh) run() (ready <-chan struct{}, err error) {
	m.up = exec.Command(m.Root.Binary("outrigger"), "up", "--state", m.State, "--fleet", m.fleetPath(),
		"--bin", m.Root.Path("bin"), "--envoy", m.Root.Envoy(), "--ingress-port", "0", "--free-ports", "--timeout", "5m")
	m.up.Dir = m.Dir
	m.up.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.Dir, "TMPDIR=" + m.Dir}
	// It ends with us, so that a test that is shot leaves nothing; in a process group
	// of its own, so that an interrupt at a terminal reaches it once, through Stop.
	m.up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	reader, writer := io.Pipe()
	m.up.Stdout, m.up.Stderr = writer, writer
	m.output, m.ended = &tail{limit: 64 << 10}, make(chan struct{})
	signal := make(chan struct{})
	go m.follow(reader, signal)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the signal is sent at the death of the thread
		defer runtime.UnlockOSThread()
		err := m.up.Start()
		started <- err
		if err != nil {
			return
		}
		m.exit = m.up.Wait()
		_ = writer.Close() // a pipe's never fails
		close(m.ended)
	}()
	if err := <-started; err != nil {
		_ = writer.Close() // a pipe's never fails
		return nil, fmt.Errorf("start the mesh: %w (`make build` makes the binaries)", err)
	}
	return signal, nil
}

// follow keeps what is printed and looks for the line that says ready.
func (m *Mesh) follow(from io.Reader, ready chan<- struct{}) {
	lines := bufio.NewReader(from)
	told := false
	for {
		line, err := lines.ReadString('\n')
		_, _ = m.output.Write([]byte(line)) // in memory
		if !told && strings.HasPrefix(line, "ready in ") {
			told = true
			close(ready)
		}
		if err != nil {
			return
		}
	}
}

// Output is the end of what `outrigger up` has printed.
func (m *Mesh) Output() string { return m.output.String() }

// Running says whether `outrigger up` runs.
func (m *Mesh) Running() bool {
	if m.up == nil {
		return false
	}
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

// UpPID is the process of `outrigger up`.
func (m *Mesh) UpPID() int { return m.up.Process.Pid }

// stopLimit is longer than a mesh is promised to take; Stop's caller measures.
const stopLimit = 30 * time.Second

// Stop ends the mesh as Ctrl-C does. An error says that it did not end well.
func (m *Mesh) Stop() error { return errors.Join(m.closeDoors(), m.stop()) }

func (m *Mesh) stop() error {
	if !m.Running() {
		return nil
	}
	if err := m.up.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the mesh: %w", err)
	}
	select {
	case <-m.ended:
	case <-time.After(stopLimit):
		return errors.Join(fmt.Errorf("the mesh did not stop within %v\n%s", stopLimit, m.output), m.Kill())
	}
	if m.exit != nil {
		return fmt.Errorf("the mesh ended badly: %w\n%s", m.exit, m.output)
	}
	return nil
}

// Kill ends `outrigger up` by SIGKILL and waits for its end, not for that of the rest.
func (m *Mesh) Kill() error { return errors.Join(m.closeDoors(), m.kill()) }

func (m *Mesh) kill() error {
	if !m.Running() {
		return nil
	}
	if err := m.up.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the mesh: %w", err)
	}
	<-m.ended
	return nil
}

// Remove stops what runs and removes the folder if New made it.
func (m *Mesh) Remove() error {
	err := m.Stop()
	if !m.own {
		return err
	}
	return errors.Join(err, os.RemoveAll(m.Dir))
}

// IngressURL is where the ingress gateway answers on this machine, without a path.
func (m *Mesh) IngressURL() (string, error) {
	s, err := m.Snapshot()
	if err != nil {
		return "", err
	}
	address := s.Published["ingress"]
	if address == "" {
		return "", fmt.Errorf("the ingress is not published, only %v", s.Published)
	}
	return "http://" + address, nil
}

// Signal sends a signal to the process of a name.
func (m *Mesh) Signal(name string, signal syscall.Signal) (pid int, err error) {
	p, err := m.Process(name)
	if err != nil {
		return 0, err
	}
	if p.PID == 0 {
		return 0, fmt.Errorf("%s does not run: it is %s (%s)", name, p.Phase, p.Detail)
	}
	if err := syscall.Kill(p.PID, signal); err != nil {
		return 0, fmt.Errorf("signal %s, process %d: %w", name, p.PID, err)
	}
	return p.PID, nil
}

// Kill9 ends a process of the fleet by SIGKILL and returns its number.
func (m *Mesh) Kill9(name string) (pid int, err error) { return m.Signal(name, syscall.SIGKILL) }
