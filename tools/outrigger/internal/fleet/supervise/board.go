package supervise

import (
	"slices"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// board is where each runner writes how its process is, and everybody reads it.
type board struct {
	mu      sync.Mutex
	rows    []fleet.Status
	index   map[string]int
	changed chan struct{} // closed and replaced with each change
}

func newBoard(plan fleet.Plan, now time.Time) *board {
	b := &board{index: map[string]int{}, changed: make(chan struct{})}
	hosts := map[string]fleet.PlannedHost{}
	for _, h := range plan.Hosts {
		hosts[h.Name] = h
	}
	for _, p := range plan.Processes {
		address := plan.Network.Hub.Addr()
		if p.Host != "" {
			address = hosts[p.Host].Address
		}
		phase := fleet.Waiting
		if p.Manual {
			phase = fleet.Held
		}
		b.index[p.Name] = len(b.rows)
		b.rows = append(b.rows, fleet.Status{
			Name: p.Name, Kind: p.Kind, Host: p.Host, Address: address, UID: p.UID,
			Phase: phase, Since: now, Log: p.Log,
		})
	}
	return b
}

// update changes one row. A new phase begins now and has no detail unless change
// gives it one.
func (b *board) update(name string, now time.Time, change func(*fleet.Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	row := &b.rows[b.index[name]]
	before := *row
	row.Detail = ""
	change(row)
	if row.Phase != before.Phase {
		row.Since = now
	}
	if *row == before {
		return
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// read returns a copy of all rows and a channel that is closed when it is old.
func (b *board) read() ([]fleet.Status, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.rows), b.changed
}

// unready returns those of the named processes that have not been ready, and a channel
// that is closed when that may have changed.
func (b *board) unready(names []string) ([]string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var missing []string
	for _, name := range names {
		if !b.rows[b.index[name]].Phase.CameUp() {
			missing = append(missing, name)
		}
	}
	return missing, b.changed
}

func (b *board) phase(name string) fleet.Phase {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rows[b.index[name]].Phase
}
