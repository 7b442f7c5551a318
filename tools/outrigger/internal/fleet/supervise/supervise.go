package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/logfile"
)

// Command is the argument that makes the command a supervisor.
const Command = "supervise-fleet"

// The descriptors that a supervisor must have been started with.
const (
	LineFD = 3 // the socket to whoever started it
	LockFD = 4 // the lock of the state folder, which must not be free while the supervisor lives
)

// SupervisorLog is the name of the supervisor's own log.
const SupervisorLog = "supervisor"

const sayTimeout = 5 * time.Second // for a report to be taken

// Run does what the Orders on the line say until it is told to stop or the line
// breaks. The caller is the first process of fresh namespaces.
func Run() error {
	if err := unix.CloseRange(LineFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep descriptors from children: %w", err)
	}
	unix.Umask(0o077)
	lock := os.NewFile(LockFD, "lock")
	defer lock.Close()
	l, err := openLine()
	if err != nil {
		return err
	}
	defer l.conn.Close()
	err = l.serve()
	if err != nil {
		return errors.Join(err, l.say(fleet.Report{Fatal: err.Error()}))
	}
	return l.say(fleet.Report{Stopped: true})
}

// line is the socket to `outrigger up`.
type line struct {
	conn  net.Conn
	lines *bufio.Reader
	mu    sync.Mutex // of what is written
}

func openLine() (*line, error) {
	file := os.NewFile(LineFD, "line")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("this command is started by outrigger up only: %w", err)
	}
	return &line{conn: conn, lines: bufio.NewReader(conn)}, nil
}

func (l *line) say(r fleet.Report) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.conn.SetWriteDeadline(time.Now().Add(sayTimeout)); err != nil {
		return err
	}
	return json.NewEncoder(l.conn).Encode(r)
}

func (l *line) orders() (fleet.Orders, error) {
	var orders fleet.Orders
	text, err := l.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &orders)
	}
	if err != nil {
		return orders, fmt.Errorf("read orders: %w", err)
	}
	return orders, nil
}

// wait returns when the other side says stop or is gone.
func (l *line) wait() {
	decoder := json.NewDecoder(l.lines)
	for {
		var tell fleet.Tell
		if err := decoder.Decode(&tell); err != nil || tell.Stop {
			return
		}
	}
}

func (l *line) serve() (err error) {
	orders, err := l.orders()
	if err != nil {
		return err
	}
	plan := orders.Plan
	if err := privateMounts(); err != nil {
		return err
	}
	if plan.Root {
		if err := openWays(plan.Inside); err != nil {
			return err
		}
	}
	if err := makeFolders(plan); err != nil {
		return err
	}
	net, err := buildNetwork(plan)
	if err != nil {
		return fmt.Errorf("build the network: %w", err)
	}
	defer func() { err = errors.Join(err, net.close()) }()
	file, err := logfile.Open(filepath.Join(plan.State, fleet.LogFolder, SupervisorLog+".log"), logLimit)
	if err != nil {
		return err
	}
	defer file.Close()
	s := newSupervisor(orders, net, l, slog.New(slog.NewJSONHandler(file, nil)))
	return s.run()
}

// supervisor holds the parts together.
type supervisor struct {
	plan      fleet.Plan
	line      *line
	log       *slog.Logger
	reaper    *reaper
	launcher  *launcher
	publisher *publisher
	control   *control
	runners   map[string]*runner
}

func newSupervisor(orders fleet.Orders, n *network, l *line, log *slog.Logger) *supervisor {
	plan := orders.Plan
	s := &supervisor{plan: plan, line: l, log: log, reaper: newReaper(), runners: map[string]*runner{}}
	s.launcher = &launcher{reaper: s.reaper, places: n.places, kept: newKeeper(), user: !plan.Root, log: log, logs: map[string]*logfile.File{}}
	if plan.Authority != nil {
		s.launcher.joins = newJoiner(*plan.Authority)
	}
	check := &prober{runFolder: filepath.Join(plan.State, fleet.RunFolder), places: n.places}
	b := newBoard(plan, time.Now())
	for _, p := range plan.Processes {
		s.runners[p.Name] = newRunner(p, s.launcher, check, b, log)
	}
	s.publisher = newPublisher(orders, b, l.say, log)
	s.control = &control{publisher: s.publisher, places: n.places, runners: s.runners, plan: plan, log: log}
	return s
}

// run keeps everything running until the line says stop, then ends it in order.
func (s *supervisor) run() error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	doors, err := openDoors(s.plan, s.log)
	if err != nil {
		return err
	}
	controls, err := listenPrivate(s.control.path())
	if err != nil {
		closeDoors(doors)
		return err
	}
	var parts sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	part("reaper", s.reaper.Run)
	part("publisher", s.publisher.Run)
	part("control", func(ctx context.Context) error { return s.control.Run(ctx, controls) })
	for _, door := range doors {
		part("forward", door.Run)
	}
	for name, r := range s.runners {
		part(name, r.Run)
	}
	told := make(chan struct{})
	go func() {
		s.line.wait()
		close(told)
	}()
	select {
	case <-told:
	case <-ctx.Done():
	}
	s.publisher.stop()
	began := time.Now()
	s.stopAll(ctx, began)
	err = context.Cause(ctx)
	cancel(nil)
	parts.Wait()
	s.endRest(began.Add(restLimit))
	return err
}
