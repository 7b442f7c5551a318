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

// Proxy is one proxy. A value of it is never changed.
type Proxy struct {
	Name, Address, ID, Role string
	// Workload is what the proxy stands beside.
	Workload model.Ref
	// Protocol is "delta" or "sotw".
	Protocol     string
	EnvoyVersion string
	ConnectedAt  time.Time
	// Target is the revision it is being brought to, Acknowledged the newest one that
	// it has in force; the other two are the registry's revisions of the same moments.
	Target, Acknowledged                 uint64
	RegistryTarget, RegistryAcknowledged uint64
	// Uses are the objects that shape what it is told.
	Uses map[model.Ref]bool
	// Has are the objects that may shape what it does; nil until it has something in
	// force, since what it was told before it came here is not known.
	Has map[model.Ref]bool
	// Dropped are objects that it used, with the config's revision at which it stopped.
	Dropped map[model.Ref]uint64
	// Wants is what it is to have.
	Wants   *translate.Wants
	Refused []Refusal
}

// maxDropped bounds what is remembered of one proxy; older ones are forgotten, and
// missing in the count of a wait that comes late.
const maxDropped = 1000

// Told returns p when it is being brought to what s says.
func (p Proxy) Told(s *model.Snapshot, wants *translate.Wants, uses map[model.Ref]bool) Proxy {
	if p.Uses == nil || !maps.Equal(p.Uses, uses) {
		p = p.turned(s.Read, uses)
	}
	p.Wants, p.Target, p.RegistryTarget = wants, s.Revision, s.RegistryRevision
	return p
}

// turned returns p when it uses other objects from a revision on.
func (p Proxy) turned(revision uint64, uses map[model.Ref]bool) Proxy {
	dropped := maps.Clone(p.Dropped)
	if dropped == nil || len(dropped) > maxDropped {
		dropped = map[model.Ref]uint64{}
	}
	for ref := range p.Uses {
		if !uses[ref] {
			dropped[ref] = revision
		}
	}
	maps.DeleteFunc(dropped, func(ref model.Ref, _ uint64) bool { return uses[ref] })
	if p.Has != nil {
		has := maps.Clone(p.Has)
		maps.Copy(has, uses)
		p.Has = has
	}
	p.Uses, p.Dropped = uses, dropped
	return p
}

// Took returns p when it has in force all that it was told.
func (p Proxy) Took() Proxy {
	p.RegistryAcknowledged, p.Has = p.RegistryTarget, p.Uses
	return p
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

// Asked is what somebody wants to know about.
type Asked struct {
	// Refs are objects that are there, Gone such as were deleted.
	Refs, Gone []model.Ref
	// Revision of the config, and of the registry, that is to be in force.
	Revision, Registry uint64
}

// LivenessOf counts the proxies that use one of the objects, or used one of those that
// are gone, and those of them that have the revision in force. A proxy that was not yet
// told of the revision may come to use it, so it counts as missing when its target is
// older.
func LivenessOf(proxies []Proxy, q Asked) Liveness {
	l := Liveness{Refused: map[string][]Refusal{}}
	for _, p := range proxies {
		told := p.Target >= q.Revision && p.RegistryTarget >= q.Registry
		if told && !p.concerned(q) {
			continue
		}
		l.Interested++
		switch {
		case told && p.Acknowledged >= q.Revision && p.RegistryAcknowledged >= q.Registry:
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

// concerned reports whether p is one of those to be counted.
func (p Proxy) concerned(q Asked) bool {
	return slices.ContainsFunc(q.Refs, func(r model.Ref) bool { return p.Uses[r] || p.Has[r] }) ||
		slices.ContainsFunc(q.Gone, func(r model.Ref) bool {
			at, dropped := p.Dropped[r]
			return p.Has == nil || p.Has[r] || dropped && at >= q.Revision
		})
}
