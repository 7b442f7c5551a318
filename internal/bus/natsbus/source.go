package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// Store is one bucket on a connection: a bus.Source, and a bus.Sink for who has the
// rights. Safe for concurrent use.
type Store struct {
	conn  *Conn
	name  string
	hints chan struct{}

	seen   atomic.Uint64 // the connection's generation at the last Look
	looked atomic.Bool
}

// Store returns the bucket of that name, which need not exist.
func (c *Conn) Store(bucket string) (*Store, error) {
	s := &Store{conn: c, name: bucket, hints: make(chan struct{}, 1)}
	_, err := c.nc.Subscribe(subjectChanged+bucket, func(*nats.Msg) { s.hint() })
	if err != nil {
		return nil, fault.Internal.Wrap(err, "bus "+bucket)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stores = append(c.stores, s)
	return s, nil
}

func (s *Store) hint() {
	select {
	case s.hints <- struct{}{}:
	default: // one is enough
	}
}

// Hints implements bus.Source.
func (s *Store) Hints() <-chan struct{} { return s.hints }

// Names in a stream's metadata.
const (
	metaIdentity  = "outrigger.dev/identity"
	metaRestoring = "outrigger.dev/restoring"
)

// Look implements bus.Source.
func (s *Store) Look(ctx context.Context) (bus.Info, error) {
	generation := s.conn.generation()
	info, err := s.info(ctx)
	if err != nil {
		return bus.Info{}, err
	}
	s.seen.Store(generation)
	s.looked.Store(true)
	return bus.Info{
		Identity:  info.Config.Metadata[metaIdentity],
		Instance:  info.Created.UTC().Format(time.RFC3339Nano),
		Last:      info.State.LastSeq,
		Count:     info.State.Msgs,
		Restoring: info.Config.Metadata[metaRestoring] != "",
	}, nil
}

// answer is what the server's management API says.
type answer struct {
	jetstream.StreamInfo
	Error *jetstream.APIError `json:"error"`
}

func (s *Store) info(ctx context.Context) (jetstream.StreamInfo, error) {
	var a answer
	if err := s.ask(ctx, s.conn.api+askInfo+streamName(s.name), nil, &a); err != nil {
		return jetstream.StreamInfo{}, err
	}
	if a.Error != nil && a.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound {
		return jetstream.StreamInfo{}, fault.NotFound.Errorf("bus: no bucket %q", s.name)
	}
	if a.Error != nil {
		return jetstream.StreamInfo{}, fault.Unavailable.Errorf("bus: bucket %q: %s", s.name, a.Error.Description)
	}
	return a.StreamInfo, nil
}

// ask sends one request and decodes its one answer.
func (s *Store) ask(ctx context.Context, subject string, body []byte, into any) error {
	ctx, cancel := s.conn.call(ctx)
	defer cancel()
	m, err := s.conn.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return s.unavailable(err)
	}
	if err := json.Unmarshal(m.Data, into); err != nil {
		return fault.Unavailable.Wrap(err, "bus: answer on "+subject)
	}
	return nil
}

func (s *Store) unavailable(err error) error {
	switch {
	case !s.conn.nc.IsConnected():
		return fault.Unavailable.Errorf("bus: no connection to a server")
	case errors.Is(err, nats.ErrNoResponders):
		return fault.Unavailable.Errorf("bus: the server does not serve bucket %q", s.name)
	case errors.Is(err, context.Canceled):
		return fault.Unavailable.Errorf("bus: the connection was lost")
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Unavailable.Errorf("bus: no answer in time for bucket %q (hanging, or no right to ask)", s.name)
	}
	return fault.Unavailable.Wrap(err, "bus: bucket "+s.name)
}

// same refuses to go on over another connection than the last Look's.
func (s *Store) same() error {
	if !s.looked.Load() || s.seen.Load() != s.conn.generation() || !s.conn.nc.IsConnected() {
		return fault.Unavailable.Errorf("bus: the connection was lost")
	}
	return nil
}

// One page is two whole batches or 8 MiB, and what is over by the last message.
const (
	pageMessages = 2 * bus.MaxBatch
	pageBytes    = 8 << 20
)

// Headers of messages and of answers to direct gets.
const (
	headerPosition = "Outrigger-Position" // "k/n": the kth of a batch of n
	headerSubject  = "Nats-Subject"
	headerSequence = "Nats-Sequence"
	headerPending  = "Nats-Num-Pending"
	headerLast     = "Nats-Last-Sequence"
	headerStatus   = "Status"
	headerReason   = "Description"
)

// Page implements bus.Source.
func (s *Store) Page(ctx context.Context, after uint64) ([]bus.Message, bool, error) {
	if err := s.same(); err != nil {
		return nil, false, err
	}
	ctx, cancel := s.conn.call(ctx)
	defer cancel()
	inbox := s.conn.nc.NewInbox()
	sub, err := s.conn.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, false, s.unavailable(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // fails only with the connection
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, false, s.unavailable(err)
	}
	ask := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d}`, after+1, pageMessages, pageBytes)
	if err := s.conn.nc.PublishRequest(s.conn.api+askDirect+streamName(s.name), inbox, ask); err != nil {
		return nil, false, s.unavailable(err)
	}
	msgs, more, err := s.collect(ctx, sub)
	if err == nil {
		err = s.same()
	}
	return msgs, more, err
}

// collect takes the answers to a direct get until the one that ends it. Each names the
// one before, so that a lost one is noticed.
func (s *Store) collect(ctx context.Context, sub *nats.Subscription) (msgs []bus.Message, more bool, err error) {
	last := uint64(0)
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, false, s.unavailable(err)
		}
		switch m.Header.Get(headerStatus) {
		case "":
		case "204":
			if number(m.Header.Get(headerLast)) != last {
				return nil, false, fault.Unavailable.Errorf("bus: bucket %q: end of a page was lost", s.name)
			}
			return msgs, number(m.Header.Get(headerPending)) > 0, nil
		case "404":
			return nil, false, nil
		default:
			return nil, false, fault.Unavailable.Errorf("bus: bucket %q: %s %s", s.name,
				m.Header.Get(headerStatus), m.Header.Get(headerReason))
		}
		if number(m.Header.Get(headerLast)) != last {
			return nil, false, fault.Unavailable.Errorf("bus: bucket %q: part of a page was lost", s.name)
		}
		last = number(m.Header.Get(headerSequence))
		msgs = append(msgs, s.message(last, m))
	}
}

// message reads one stored message. Without a good position the revision stays 0.
func (s *Store) message(seq uint64, m *nats.Msg) bus.Message {
	msg := bus.Message{
		Path: strings.TrimPrefix(m.Header.Get(headerSubject), subjectData+s.name+"."),
		Seq:  seq, Value: m.Data,
	}
	if k, n, ok := strings.Cut(m.Header.Get(headerPosition), "/"); ok {
		at, of := number(k), number(n)
		if 0 < at && at <= of && of <= bus.MaxBatch {
			msg.Revision = seq + of - at
		}
	}
	return msg
}

// number reads a header's number; 0 for what is none, which no sequence is.
func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
