package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
)

// Create implements bus.Sink.
func (s *Store) Create(ctx context.Context, c bus.Creation) error {
	ctx, cancel := s.conn.call(ctx)
	defer cancel()
	if c.Restoring {
		if err := s.clear(ctx); err != nil {
			return err
		}
	}
	meta := map[string]string{metaIdentity: c.Identity}
	if c.Restoring {
		meta[metaRestoring] = "true"
	}
	_, err := s.conn.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:               streamName(s.name),
		Description:        "outrigger: bucket " + s.name,
		Subjects:           []string{subjectData + s.name + ".>"},
		Storage:            jetstream.FileStorage,
		Replicas:           s.conn.replicas,
		MaxMsgsPerSubject:  1,
		Discard:            jetstream.DiscardNew,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		AllowMsgTTL:        true,
		FirstSeq:           c.First,
		Metadata:           meta,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fault.Conflict.Errorf("bus: there is a bucket %q", s.name)
	}
	if err != nil {
		return fault.Unavailable.Wrap(err, "bus: make bucket "+s.name)
	}
	return nil
}

// clear removes a bucket that is empty or was left half restored.
func (s *Store) clear(ctx context.Context) error {
	info, err := s.info(ctx)
	if fault.Of(err) == fault.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if info.State.Msgs > 0 && info.Config.Metadata[metaRestoring] == "" {
		return fault.Conflict.Errorf("bus: bucket %q holds %d messages", s.name, info.State.Msgs)
	}
	if err := s.conn.js.DeleteStream(ctx, streamName(s.name)); err != nil {
		return fault.Unavailable.Wrap(err, "bus: replace bucket "+s.name)
	}
	return nil
}

// Complete implements bus.Sink.
func (s *Store) Complete(ctx context.Context) error {
	ctx, cancel := s.conn.call(ctx)
	defer cancel()
	info, err := s.info(ctx)
	if err != nil {
		return err
	}
	delete(info.Config.Metadata, metaRestoring)
	if _, err := s.conn.js.UpdateStream(ctx, info.Config); err != nil {
		return fault.Unavailable.Wrap(err, "bus: complete bucket "+s.name)
	}
	s.tell(info.State.LastSeq)
	return nil
}

// tell hints the other readers; a reader that misses it finds out at its next
// reconcile, so there is no error to return.
func (s *Store) tell(last uint64) {
	s.conn.nc.Publish(subjectChanged+s.name, strconv.AppendUint(nil, last, 10)) //nolint:errcheck // see above
}

// Error codes of the server that mean something to us.
const (
	codeWrongLast         = 10071
	codeWrongLastConstant = 10164 // the same, without saying the number
	codeTooManyBatches    = 10210
	codeIncompleteBatch   = 10176
)

type published struct {
	Seq   uint64              `json:"seq"`
	Error *jetstream.APIError `json:"error"`
}

// Append implements bus.Sink.
func (s *Store) Append(ctx context.Context, batch []bus.Record) (uint64, error) {
	if err := s.same(); err != nil {
		return 0, err
	}
	ctx, cancel := s.conn.call(ctx)
	defer cancel()
	id := nuid.Next()
	last := len(batch) - 1
	for i := range last {
		if err := s.conn.nc.PublishMsg(s.part(id, batch, i)); err != nil {
			return 0, s.unavailable(err)
		}
	}
	reply, err := s.conn.nc.RequestMsgWithContext(ctx, s.part(id, batch, last))
	if err != nil {
		return s.outcome(id, batch[last].Path, err)
	}
	var p published
	if err := json.Unmarshal(reply.Data, &p); err != nil {
		return s.outcome(id, batch[last].Path, err)
	}
	if p.Error != nil {
		return 0, s.refused(ctx, batch, p.Error)
	}
	s.tell(p.Seq)
	return p.Seq, nil
}

// part is the ith message of a batch; the last one commits it.
func (s *Store) part(id string, batch []bus.Record, i int) *nats.Msg {
	r := batch[i]
	h := nats.Header{
		"Nats-Batch-Id":       {id},
		"Nats-Batch-Sequence": {strconv.Itoa(i + 1)},
		headerPosition:        {fmt.Sprintf("%d/%d", i+1, len(batch))},
	}
	if i == len(batch)-1 {
		h["Nats-Batch-Commit"] = []string{"1"}
	}
	if r.Expect != bus.Any {
		h[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(r.Expect, 10)}
	}
	if r.Expires > 0 {
		h[jetstream.MsgTTLHeader] = []string{r.Expires.Round(time.Second).String()}
	}
	return &nats.Msg{Subject: subjectData + s.name + "." + r.Path, Header: h, Data: r.Value}
}

// outcome finds out whether a batch was accepted whose answer was lost.
func (s *Store) outcome(id, lastPath string, cause error) (uint64, error) {
	ctx, cancel := s.conn.call(context.Background())
	defer cancel()
	m, err := s.stored(ctx, lookup{LastFor: subjectData + s.name + "." + lastPath})
	if err == nil && m.Header.Get("Nats-Batch-Id") == id {
		s.tell(m.Seq)
		return m.Seq, nil
	}
	return 0, fault.Unavailable.Errorf("%w; whether the batch was accepted is not known", s.unavailable(cause))
}

// refused turns the server's answer into what a caller can act on.
func (s *Store) refused(ctx context.Context, batch []bus.Record, e *jetstream.APIError) error {
	switch int(e.ErrorCode) {
	case codeWrongLast:
		return s.stale(ctx, batch, number(e.Description[strings.LastIndexByte(e.Description, ' ')+1:]))
	case codeWrongLastConstant:
		return &bus.StaleError{}
	case codeTooManyBatches:
		return fault.Unavailable.Errorf("bus: bucket %q: %s; nothing was written", s.name, e.Description)
	case codeIncompleteBatch:
		return fault.Unavailable.Errorf("bus: bucket %q: %s; nothing was written; is there room on the disk of the bus?", s.name, e.Description)
	}
	return fault.Unavailable.Errorf("bus: bucket %q: %s", s.name, e.Description)
}

// stale finds out which record it was: the server names only the number that it has.
func (s *Store) stale(ctx context.Context, batch []bus.Record, last uint64) error {
	if last > 0 {
		m, err := s.stored(ctx, lookup{Seq: last})
		if err != nil {
			return staleUnless(err)
		}
		path := strings.TrimPrefix(m.Subject, subjectData+s.name+".")
		return &bus.StaleError{Path: path, Last: last, Deleted: deleted(m.Data)}
	}
	for _, r := range batch {
		if r.Expect == 0 || r.Expect == bus.Any {
			continue
		}
		_, err := s.stored(ctx, lookup{LastFor: subjectData + s.name + "." + r.Path})
		if fault.Of(err) == fault.NotFound {
			return &bus.StaleError{Path: r.Path}
		}
		if err != nil {
			return err
		}
	}
	return &bus.StaleError{}
}

// staleUnless keeps a lost race a lost race although its winner is gone again.
func staleUnless(err error) error {
	if fault.Of(err) == fault.NotFound {
		return &bus.StaleError{}
	}
	return err
}

func deleted(value []byte) bool {
	e := &busv1.Envelope{}
	return proto.Unmarshal(value, e) == nil && e.GetDeleted()
}

// lookup is a request for one message, answered by the bucket's leader.
type lookup struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
}

type storedMessage struct {
	Subject string
	Seq     uint64
	Header  nats.Header
	Data    []byte
}

func (s *Store) stored(ctx context.Context, l lookup) (storedMessage, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return storedMessage{}, fault.Internal.Wrap(err, "bus: request")
	}
	var a struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	if err := s.ask(ctx, s.conn.api+askLast+streamName(s.name), body, &a); err != nil {
		return storedMessage{}, err
	}
	if a.Error != nil && a.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return storedMessage{}, fault.NotFound.Errorf("bus: no message %d %s", l.Seq, l.LastFor)
	}
	if a.Error != nil {
		return storedMessage{}, fault.Unavailable.Errorf("bus: %s", a.Error.Description)
	}
	m := storedMessage{Subject: a.Message.Subject, Seq: a.Message.Seq, Data: a.Message.Data}
	if len(a.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(a.Message.Header); err != nil {
			return storedMessage{}, fault.Unavailable.Wrap(err, "bus: stored header")
		}
	}
	return m, nil
}
