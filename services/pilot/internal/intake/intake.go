// Package intake owns the way in: it knows what the buckets hold, lets ingest decide
// about one batch after the other, and has what was accepted written. In: changes of
// the two buckets, and batches from the API and from files. Out: writes, and for each
// batch what became of it.
//
// It stands beside package world: world is what proxies are told, built when things are
// quiet; intake is what the next batch is judged by, up to date after every write.
package intake

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Limits in time: of a whole batch, and of the wait for reading one's own writes.
const (
	batchTimeout = 30 * time.Second
	echoTimeout  = 5 * time.Second
)

// writer is a bucket that batches are written to.
type writer interface {
	Apply(ctx context.Context, writes []bus.Write) (revision uint64, err error)
}

// bucket tells the two sides of the bus apart.
type bucket int

const (
	config bucket = iota
	registry
	buckets
)

// discovered reports whether an object comes from a registry source. Everything that
// was handed in here is kept in the config bucket, services and workloads too, so that
// one batch is one write; the registry has a copy of those, which is not looked at.
func discovered(origin string) bool { return strings.HasPrefix(origin, "registry:") }

const copied = "registry:config"

// Config is what an Intake needs to know.
type Config struct {
	Settings ingest.Settings
	// Now is the clock for the time at which a batch is accepted.
	Now func() time.Time
}

// Intake takes batches. Safe for concurrent use; batches go one after the other.
type Intake struct {
	cfg  Config
	to   writer
	turn chan struct{} // 1: a batch is judged by what the one before it left

	mu       sync.Mutex
	view     ingest.View // replaced, never changed
	revision [buckets]uint64
	loaded   [buckets]bool
	changed  chan struct{} // closed and replaced with each change
}

// New returns an Intake that takes nothing before both buckets were read once.
func New(cfg Config, to writer) *Intake {
	return &Intake{
		cfg: cfg, to: to,
		turn: make(chan struct{}, 1), view: ingest.View{}, changed: make(chan struct{}),
	}
}

// Config takes a change of the config bucket.
func (k *Intake) Config(c bus.Change) { k.take(config, c) }

// Registry takes a change of the registry bucket.
func (k *Intake) Registry(c bus.Change) { k.take(registry, c) }

func (k *Intake) take(b bucket, c bus.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := maps.Clone(k.view)
	if c.Reset {
		maps.DeleteFunc(next, func(_ model.Ref, e ingest.Entry) bool {
			return discovered(e.Object.GetMetadata().GetOrigin()) == (b == registry)
		})
	}
	for _, e := range c.Entries {
		ref := model.Ref{Kind: e.Key.Kind, Namespace: e.Key.Namespace, Name: e.Key.Name}
		old, there := next[ref]
		if there && b == registry && !discovered(old.Object.GetMetadata().GetOrigin()) || e.Envelope.GetOrigin() == copied {
			continue // what an operator wrote comes first
		}
		if e.Envelope.GetDeleted() {
			delete(next, ref)
			continue
		}
		o := proto.CloneOf(e.Envelope.GetObject())
		o.Metadata.Revision, o.Metadata.Origin = e.Revision, e.Envelope.GetOrigin()
		next[ref] = ingest.Entry{Object: o, Seq: e.Seq}
	}
	k.view, k.revision[b], k.loaded[b] = next, c.Revision, true
	close(k.changed)
	k.changed = make(chan struct{})
}

// View returns what is known now, and the revision of the config. ok is false before
// both buckets were read.
func (k *Intake) View() (v ingest.View, revision uint64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.view, k.revision[config], k.loaded[config] && k.loaded[registry]
}

// Batch is what shall be changed, and by whom.
type Batch struct {
	ingest.Input
	// Writer is the caller's identity, for the record.
	Writer string
	// DryRun checks only.
	DryRun bool
}

// Result is what became of a batch.
type Result struct {
	// Revision of the config after the batch.
	Revision uint64
	Applied  []*pilotv1.Applied
	Warnings []*pilotv1.Problem
}

// Submit lets a batch be judged and written. All of it is accepted or nothing. Errors:
// *ingest.Refusal; fault.Unavailable if the bus has not been read or cannot be
// written; fault.Conflict if somebody else was faster.
func (k *Intake) Submit(ctx context.Context, b Batch) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, fault.Unavailable.Wrap(ctx.Err(), "waiting for an earlier batch")
	}
	view, revision, ok := k.View()
	if !ok {
		return nil, fault.Unavailable.Errorf("pilot has not read what the bus holds yet")
	}
	plan, refusal := ingest.Check(k.cfg.Settings, view, b.Input)
	if refusal != nil {
		return nil, refusal
	}
	if !b.DryRun {
		written, err := k.write(ctx, b, plan)
		if err != nil {
			return nil, err
		}
		revision = max(revision, written)
		k.echo(ctx, written)
	}
	return &Result{Revision: revision, Applied: applied(plan, revision, b.DryRun), Warnings: plan.Warnings}, nil
}

// write carries out a plan as one batch and returns its revision, 0 if there is nothing
// to write.
func (k *Intake) write(ctx context.Context, b Batch, plan *ingest.Plan) (uint64, error) {
	var writes []bus.Write
	for _, c := range plan.Changes {
		if c.Action != pilotv1.Applied_UNCHANGED {
			writes = append(writes, bus.Write{Envelope: k.envelope(c, b), BasedOn: c.BasedOn})
		}
	}
	if len(writes) == 0 {
		return 0, nil
	}
	return k.to.Apply(ctx, writes)
}

// applied lists the changes for the caller.
func applied(plan *ingest.Plan, revision uint64, dryRun bool) []*pilotv1.Applied {
	out := make([]*pilotv1.Applied, 0, len(plan.Changes))
	for _, c := range plan.Changes {
		ref := model.RefOf(c.Object)
		a := &pilotv1.Applied{
			Ref:    &configv1.ObjectRef{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name},
			Action: c.Action, Revision: revision,
		}
		if dryRun || c.Action == pilotv1.Applied_UNCHANGED {
			a.Revision = c.Before.Object.GetMetadata().GetRevision()
		}
		out = append(out, a)
	}
	return out
}

// echo waits until one's own writes have been read, so that the next batch is judged by
// them. A bus that is slow to tell costs time and nothing else.
func (k *Intake) echo(ctx context.Context, written uint64) {
	ctx, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	for {
		k.mu.Lock()
		changed := k.changed
		seen := k.revision[config] >= written
		k.mu.Unlock()
		if seen {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// envelope makes the message of one change.
func (k *Intake) envelope(c ingest.Change, b Batch) *busv1.Envelope {
	return &busv1.Envelope{
		Object: c.Object, Deleted: c.Action == pilotv1.Applied_DELETED, Origin: b.Origin,
		Writer: b.Writer, AcceptedAt: timestamppb.New(k.cfg.Now()),
	}
}
