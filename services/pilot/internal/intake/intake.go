// Package intake owns the way in: it knows what the buckets hold, lets ingest decide
// about one batch after the other, and has what was accepted written. In: changes of
// the two buckets, and batches from the API and from files. Out: writes to the config
// bucket, and for each batch what became of it.
//
// It stands beside package world: world is what proxies are told, built when things are
// quiet; intake is what the next batch is judged by, up to date after every write.
package intake

import (
	"context"
	"maps"
	"slices"
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

// writer is the bucket that batches are written to.
type writer interface {
	Apply(ctx context.Context, writes []bus.Write) (revision uint64, err error)
}

// originMirror is that of the copies that the registry has of what the config holds.
const originMirror = "registry:config"

// Config is what an Intake needs to know.
type Config struct {
	Settings ingest.Settings
	// Now is the clock for the time at which a batch is accepted.
	Now func() time.Time
	// Keeps reports whether an origin still has its objects in hand; nil if all have.
	// Objects of one that has not are for whoever writes or deletes them.
	Keeps func(origin string) bool
}

// Intake takes batches. Safe for concurrent use; batches go one after the other.
type Intake struct {
	cfg  Config
	to   writer
	turn chan struct{} // 1: a batch is judged by what the one before it left

	mu       sync.Mutex
	config   half
	registry half
	gone     gone
	view     ingest.View   // of both; replaced, never changed
	changed  chan struct{} // closed and replaced with each change of the config
}

// half is what one bucket holds.
type half struct {
	loaded   bool
	revision uint64
	entries  map[model.Ref]ingest.Entry
}

// New returns an Intake that takes nothing before both buckets were read once. It
// writes to the config bucket.
func New(cfg Config, to writer) *Intake {
	return &Intake{cfg: cfg, to: to, turn: make(chan struct{}, 1), view: ingest.View{}, changed: make(chan struct{})}
}

// Config takes a change of the config bucket.
func (k *Intake) Config(c bus.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.config.take(c)
	k.gone.take(c)
	k.merge()
	close(k.changed)
	k.changed = make(chan struct{})
}

// Registry takes a change of the registry bucket.
func (k *Intake) Registry(c bus.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.registry.take(c)
	k.merge()
}

func (h *half) take(c bus.Change) {
	if c.Reset || h.entries == nil {
		h.entries = map[model.Ref]ingest.Entry{}
	}
	for _, e := range c.Entries {
		ref := model.Ref{Kind: e.Key.Kind, Namespace: e.Key.Namespace, Name: e.Key.Name}
		if e.Envelope.GetDeleted() {
			delete(h.entries, ref)
			continue
		}
		o := proto.CloneOf(e.Envelope.GetObject())
		if o.Metadata == nil {
			o.Metadata = &configv1.Metadata{Namespace: ref.Namespace, Name: ref.Name}
		}
		o.Metadata.Revision, o.Metadata.Origin = e.Revision, e.Envelope.GetOrigin()
		h.entries[ref] = ingest.Entry{Object: o, Seq: e.Seq}
	}
	h.revision, h.loaded = c.Revision, true
}

// merge makes the view: the config, and what only the registry has. What an operator
// wrote comes first; of the registry's copies of it the virtual addresses are news.
func (k *Intake) merge() {
	view := make(ingest.View, len(k.config.entries)+len(k.registry.entries))
	maps.Copy(view, k.config.entries)
	for ref, e := range k.registry.entries {
		own, written := view[ref]
		switch {
		case written:
			own.Address = e.Object.GetService().GetAddress()
			view[ref] = own
		case e.Object.GetMetadata().GetOrigin() != originMirror:
			view[ref] = e
		}
	}
	k.view = view
}

// View returns what is known now, and the revision of the config. ok is false before
// both buckets were read.
func (k *Intake) View() (v ingest.View, revision uint64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.view, k.config.revision, k.config.loaded && k.registry.loaded
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
	b.Adopts = k.adopts(view, b.Input)
	plan, refusal := ingest.Check(k.cfg.Settings, view, b.Input)
	if refusal != nil {
		return nil, refusal
	}
	writes := k.writes(plan, b)
	if len(writes) > 0 && !b.DryRun {
		var err error
		if revision, err = k.to.Apply(ctx, writes); err != nil {
			return nil, err
		}
		k.echo(ctx, revision)
	}
	return &Result{Revision: revision, Applied: applied(plan, revision, b.DryRun), Warnings: plan.Warnings}, nil
}

// adopts adds what nobody keeps any more to what an input takes over.
func (k *Intake) adopts(view ingest.View, in ingest.Input) map[model.Ref]bool {
	if k.cfg.Keeps == nil {
		return in.Adopts
	}
	out := map[model.Ref]bool{}
	maps.Copy(out, in.Adopts)
	refs := slices.Clone(in.Deletes)
	for _, d := range in.Documents {
		refs = append(refs, model.RefOf(d.Object))
	}
	for _, ref := range refs {
		if e, ok := view[ref]; ok && !k.cfg.Keeps(e.Object.GetMetadata().GetOrigin()) {
			out[ref] = true
		}
	}
	return out
}

// writes makes the messages of a plan.
func (k *Intake) writes(plan *ingest.Plan, b Batch) []bus.Write {
	var out []bus.Write
	for _, c := range plan.Changes {
		if c.Action == pilotv1.Applied_UNCHANGED {
			continue
		}
		out = append(out, bus.Write{BasedOn: c.BasedOn, Envelope: &busv1.Envelope{
			Object: c.Object, Deleted: c.Action == pilotv1.Applied_DELETED, Origin: b.Origin,
			Writer: b.Writer, AcceptedAt: timestamppb.New(k.cfg.Now()),
		}})
	}
	return out
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

// echo waits until one's own write has been read, so that the next batch is judged by
// it. A bus that is slow to tell costs time and nothing else.
func (k *Intake) echo(ctx context.Context, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	for {
		k.mu.Lock()
		changed, seen := k.changed, k.config.revision >= revision
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
