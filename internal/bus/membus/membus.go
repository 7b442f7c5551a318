// Package membus is a bus inside one process, for tests and for parts that are tried
// without a server. In: calls of bus.Source and bus.Sink. Out: the same answers that a
// server would give, its absence and the loss of its data included. It stores nothing
// on disk.
package membus

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
)

// Bus is the server. Safe for concurrent use.
type Bus struct {
	mu         sync.Mutex
	down       bool
	generation int // of connections
	made       int // buckets ever made
	buckets    map[string]*bucket
	stores     []*Store
}

type bucket struct {
	info     bus.Info
	messages map[string]message // by path
}

type message struct {
	bus.Message
	deleted bool
	expires time.Time // zero: never
}

// New returns a running bus without buckets.
func New() *Bus { return &Bus{buckets: map[string]*bucket{}} }

// Stop makes the bus unreachable and cuts all connections; what it holds stays.
func (b *Bus) Stop() { b.set(true) }

// Start makes it reachable again.
func (b *Bus) Start() { b.set(false) }

func (b *Bus) set(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	b.generation++
	for _, s := range b.stores {
		s.hint()
	}
}

// Wipe loses everything.
func (b *Bus) Wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.buckets)
}

// Store is a client's connection to one bucket. Safe for concurrent use.
type Store struct {
	bus   *Bus
	name  string
	hints chan struct{}
	seen  int // generation of the last Look; guarded by bus.mu
}

// Store returns a new connection to a bucket, which need not exist.
func (b *Bus) Store(name string) *Store {
	s := &Store{bus: b, name: name, hints: make(chan struct{}, 1), seen: -1}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stores = append(b.stores, s)
	return s
}

func (s *Store) hint() {
	select {
	case s.hints <- struct{}{}:
	default: // one is enough
	}
}

// Hints implements bus.Source.
func (s *Store) Hints() <-chan struct{} { return s.hints }

// open locks the bus and returns the bucket, nil if there is none. The caller unlocks.
func (s *Store) open() (*bucket, error) {
	s.bus.mu.Lock()
	if s.bus.down {
		return nil, fault.Unavailable.Errorf("bus is stopped")
	}
	b := s.bus.buckets[s.name]
	if b != nil {
		b.expire(time.Now())
	}
	return b, nil
}

// same is open for calls that need a Look before.
func (s *Store) same() (*bucket, error) {
	b, err := s.open()
	if err == nil && s.seen != s.bus.generation {
		err = fault.Unavailable.Errorf("connection to the bus was lost")
	}
	if err == nil && b == nil {
		err = fault.Unavailable.Errorf("bucket %q is gone", s.name)
	}
	return b, err
}

func (b *bucket) expire(now time.Time) {
	maps.DeleteFunc(b.messages, func(_ string, m message) bool {
		return !m.expires.IsZero() && !now.Before(m.expires)
	})
}

// Look implements bus.Source.
func (s *Store) Look(context.Context) (bus.Info, error) {
	b, err := s.open()
	defer s.bus.mu.Unlock()
	if err != nil {
		return bus.Info{}, err
	}
	if b == nil {
		return bus.Info{}, fault.NotFound.Errorf("no bucket %q", s.name)
	}
	s.seen = s.bus.generation
	info := b.info
	info.Count = uint64(len(b.messages))
	return info, nil
}

// pageSize is small, so that tests of modest size read several pages.
const pageSize = 1500

// Page implements bus.Source.
func (s *Store) Page(_ context.Context, after uint64) ([]bus.Message, bool, error) {
	b, err := s.same()
	defer s.bus.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	var msgs []bus.Message
	for _, m := range b.messages {
		if m.Seq > after {
			msgs = append(msgs, m.Message)
		}
	}
	slices.SortFunc(msgs, func(x, y bus.Message) int { return int(x.Seq) - int(y.Seq) })
	if len(msgs) > pageSize {
		return msgs[:pageSize:pageSize], true, nil
	}
	return msgs, false, nil
}

// Create implements bus.Sink.
func (s *Store) Create(_ context.Context, c bus.Creation) error {
	b, err := s.open()
	defer s.bus.mu.Unlock()
	if err != nil {
		return err
	}
	if b != nil && (!c.Restoring || len(b.messages) > 0 && !b.info.Restoring) {
		return fault.Conflict.Errorf("there is a bucket %q", s.name)
	}
	s.bus.made++
	s.bus.buckets[s.name] = &bucket{
		info: bus.Info{
			Identity: c.Identity, Instance: strconv.Itoa(s.bus.made),
			Last: max(c.First, 1) - 1, Restoring: c.Restoring,
		},
		messages: map[string]message{},
	}
	return nil
}

// Append implements bus.Sink.
func (s *Store) Append(_ context.Context, batch []bus.Record) (uint64, error) {
	b, err := s.same()
	defer s.bus.mu.Unlock()
	if err != nil {
		return 0, err
	}
	for _, r := range batch {
		m := b.messages[r.Path]
		if r.Expect != bus.Any && r.Expect != m.Seq {
			return 0, &bus.StaleError{Path: r.Path, Last: m.Seq, Deleted: m.deleted}
		}
	}
	first, last := b.info.Last+1, b.info.Last+uint64(len(batch))
	for i, r := range batch {
		e := &busv1.Envelope{}
		if err := proto.Unmarshal(r.Value, e); err != nil {
			return 0, fault.Invalid.Wrap(err, r.Path)
		}
		m := message{
			Message: bus.Message{Path: r.Path, Seq: first + uint64(i), Revision: last, Value: r.Value},
			deleted: e.GetDeleted(),
		}
		if r.Expires > 0 {
			m.expires = time.Now().Add(r.Expires)
		}
		b.messages[r.Path] = m
	}
	b.info.Last = last
	s.tell()
	return last, nil
}

// Complete implements bus.Sink.
func (s *Store) Complete(context.Context) error {
	b, err := s.same()
	defer s.bus.mu.Unlock()
	if err != nil {
		return err
	}
	b.info.Restoring = false
	s.tell()
	return nil
}

// tell hints all clients of the bucket. The bus is locked.
func (s *Store) tell() {
	for _, o := range s.bus.stores {
		if o.name == s.name {
			o.hint()
		}
	}
}
