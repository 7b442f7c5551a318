// Package status knows which proxy has what in force. In: what each proxy was told,
// took and refused. Out: answers for people and for those who wait for a change. It
// never influences what proxies are told.
package status

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// Proxy is one connected proxy. A value of it is never changed.
type Proxy struct {
	Name, Address, ID, Role string
	// Protocol is "delta" or "sotw".
	Protocol     string
	EnvoyVersion string
	ConnectedAt  time.Time
	// Target is the revision it is being brought to, Acknowledged the newest one that
	// it has in force.
	Target, Acknowledged uint64
	// Uses are the objects that shape what it is told.
	Uses map[model.Ref]bool
	// Wants is what it is to have.
	Wants   *translate.Wants
	Refused []Refusal
}

// Refusal is the proxy's own words.
type Refusal struct{ Resource, Message string }

// Table holds the connected proxies. Safe for concurrent use.
type Table struct {
	mu      sync.Mutex
	next    int
	proxies map[int]Proxy
	changed chan struct{}
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{proxies: map[int]Proxy{}, changed: make(chan struct{})} }

// Connect adds a proxy and returns by what to update and to remove it.
func (t *Table) Connect(p Proxy) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	t.proxies[t.next] = p
	t.signal()
	return t.next
}

// Update replaces what is known of a proxy.
func (t *Table) Update(id int, p Proxy) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proxies[id] = p
	t.signal()
}

// Disconnect forgets a proxy.
func (t *Table) Disconnect(id int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.proxies, id)
	t.signal()
}

func (t *Table) signal() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Proxies returns the connected proxies by name, and a channel that is closed at the
// next change.
func (t *Table) Proxies() ([]Proxy, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Values(t.proxies), func(a, b Proxy) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.ConnectedAt.Compare(b.ConnectedAt))
	}), t.changed
}

// Liveness is how far a revision of some objects has come.
type Liveness struct {
	Interested, Live int
	Missing          []string
	Refused          map[string][]Refusal // by proxy
}

// Done reports whether there is nobody left to wait for.
func (l Liveness) Done() bool { return l.Live == l.Interested }

// LivenessOf counts the proxies that use one of refs, and those of them that have
// revision in force. A proxy that was not yet told of the revision may come to use it,
// so it counts as missing when its target is older.
func LivenessOf(proxies []Proxy, refs []model.Ref, revision uint64) Liveness {
	l := Liveness{Refused: map[string][]Refusal{}}
	for _, p := range proxies {
		uses := slices.ContainsFunc(refs, func(r model.Ref) bool { return p.Uses[r] })
		if !uses && p.Target >= revision {
			continue
		}
		l.Interested++
		switch {
		case p.Acknowledged >= revision && p.Target >= revision:
			l.Live++
		case len(p.Refused) > 0:
			l.Refused[p.Name] = p.Refused
			l.Missing = append(l.Missing, p.Name)
		default:
			l.Missing = append(l.Missing, p.Name)
		}
	}
	return l
}
