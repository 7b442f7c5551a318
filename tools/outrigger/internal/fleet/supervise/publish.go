package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// tooMany failures in a row of one process end the start of the fleet.
const tooMany = 4

// rewrite is the pause before a file that could not be written is tried again.
const rewrite = 2 * time.Second

// publisher tells the world how the fleet is: it alone decides the stage that the
// fleet is in, and says so in the file, on the line to `outrigger up`, and to
// whoever asks. While the file cannot be written, as on a full disk, it keeps what
// it had, and the snapshot says so.
type publisher struct {
	board  *board
	path   string
	report func(fleet.Report) error
	manual map[string]bool
	log    *slog.Logger

	mu       sync.Mutex
	latest   fleet.Snapshot
	stopping chan struct{} // closed by stop
}

func newPublisher(orders fleet.Orders, b *board, report func(fleet.Report) error, log *slog.Logger) *publisher {
	plan := orders.Plan
	p := &publisher{
		board: b, report: report, manual: map[string]bool{}, log: log, stopping: make(chan struct{}),
		path: filepath.Join(plan.State, fleet.RunFolder, fleet.SnapshotFile),
	}
	for _, process := range plan.Processes {
		p.manual[process.Name] = process.Manual
	}
	p.latest = fleet.Snapshot{
		State: plan.State, Mode: mode(plan), PID: orders.PID, Supervisor: ownPID(), Started: orders.Started,
		Stage: fleet.StageStarting, Hub: plan.Network.Hub.Addr(), Published: orders.Published, Hosts: plan.Hosts,
	}
	return p
}

func mode(plan fleet.Plan) string {
	if plan.Root {
		return "root"
	}
	return "user"
}

// ownPID is the supervisor's number as the machine counts; os.Getpid says 1.
func ownPID() int {
	target, err := os.Readlink("/proc/self")
	if err != nil {
		return 0
	}
	pid := 0
	if _, err := fmt.Sscan(target, &pid); err != nil {
		return 0
	}
	return pid
}

// Run publishes every change until ctx ends. An error means that nobody takes
// reports any more.
func (p *publisher) Run(ctx context.Context) error {
	stopping := p.stopping
	for {
		changed, written, err := p.publish()
		if err != nil {
			return err
		}
		var again <-chan time.Time
		if !written {
			again = time.After(rewrite)
		}
		select {
		case <-changed:
		case <-again:
		case <-stopping:
			stopping = nil
		case <-ctx.Done():
			return nil
		}
	}
}

// stop makes the stage final.
func (p *publisher) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.latest.Stage != fleet.StageStopping {
		p.latest.Stage = fleet.StageStopping
		close(p.stopping)
	}
}

// snapshot returns the fleet as it is now. Its parts are not to be changed.
func (p *publisher) snapshot() fleet.Snapshot {
	rows, _ := p.board.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.latest
	s.Processes = rows
	return s
}

func (p *publisher) publish() (changed <-chan struct{}, written bool, err error) {
	rows, changed := p.board.read()
	p.mu.Lock()
	p.latest.Processes = rows
	if p.latest.Stage == fleet.StageStarting {
		p.latest = judge(p.latest, p.manual, time.Now())
	}
	s := p.latest
	p.mu.Unlock()
	s.Warning = ""
	if err := p.write(s); err != nil {
		s.Warning = err.Error()
	}
	p.warn(s.Warning)
	return changed, s.Warning == "", p.report(fleet.Report{Snapshot: &s})
}

func (p *publisher) write(s fleet.Snapshot) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("fleet state: %w", err)
	}
	return writeOwned(p.path, append(text, '\n'), 0)
}

// warn takes note of what is wrong, "" for nothing, and logs it when it is news.
func (p *publisher) warn(now string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch now {
	case p.latest.Warning:
	case "":
		p.log.Info("fleet state is written again")
	default:
		p.log.Error("fleet state is not written", "error", now)
	}
	p.latest.Warning = now
}

// judge says whether a fleet that starts has come up, or cannot.
func judge(s fleet.Snapshot, manual map[string]bool, now time.Time) fleet.Snapshot {
	ready := true
	for _, row := range s.Processes {
		if row.Failures >= tooMany {
			s.Stage = fleet.StageFailed
			s.Failure = fmt.Sprintf("%s does not start: %s\nIts last words (all of them: %s):\n%s", row.Name, row.Detail, row.Log, row.LastWords)
			return s
		}
		if !row.Phase.CameUp() && !manual[row.Name] {
			ready = false
		}
	}
	if ready {
		s.Stage, s.ReadyAfter = fleet.StageReady, now.Sub(s.Started)
	}
	return s
}
