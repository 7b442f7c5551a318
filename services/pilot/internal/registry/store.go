// Package registry keeps the registry bucket: takes registrations of workloads, ends
// those whose lease ran out, and copies the services and workloads that operators
// wrote as config into it, with the virtual addresses that services have. In: calls
// with proven callers, and both buckets. Out: writes to the registry bucket. What may
// be written is decided by pure functions; nothing here is asked by a proxy.
package registry

import (
	"maps"
	"slices"
	"sync"

	"github.com/outrigger-mesh/outrigger/internal/bus"
)

// Store is the newest state of one bucket. Safe for concurrent use.
type Store struct {
	mu       sync.Mutex
	loaded   bool
	revision uint64
	entries  map[bus.Key]bus.Entry
	changed  chan struct{}
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{entries: map[bus.Key]bus.Entry{}, changed: make(chan struct{})}
}

// Take applies a change of the bucket.
func (s *Store) Take(c bus.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Reset {
		s.entries = map[bus.Key]bus.Entry{}
	}
	for _, e := range c.Entries {
		if e.Envelope.GetDeleted() {
			delete(s.entries, e.Key)
			continue
		}
		s.entries[e.Key] = e
	}
	s.loaded, s.revision = true, c.Revision
	close(s.changed)
	s.changed = make(chan struct{})
}

// Entries returns the state in order of the keys, whether it was ever loaded, and a
// channel that is closed at the next change.
func (s *Store) Entries() (entries []bus.Entry, loaded bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.entries), func(a, b bus.Entry) int {
		return compareKeys(a.Key, b.Key)
	}), s.loaded, s.changed
}

// Get returns one entry.
func (s *Store) Get(k bus.Key) (bus.Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[k]
	return e, ok
}

// Revision is that of the newest state.
func (s *Store) Revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// Loaded reports whether there was a first state.
func (s *Store) Loaded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded
}
