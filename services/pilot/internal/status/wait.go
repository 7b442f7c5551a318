package status

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// Limits of Wait.
const (
	defaultWait = 30 * time.Second
	maxWait     = 10 * time.Minute
	maxMissing  = 100
	// settle is how long a refusal must stand before it counts: a proxy may refuse what
	// the next response, already under way, puts right.
	settle = 300 * time.Millisecond
)

// sets is where the newest set comes from.
type sets interface {
	Current() *translate.Set
	Changed() <-chan struct{}
}

// Waiter answers ConfigService.Wait.
type Waiter struct {
	table *Table
	sets  sets
}

// NewWaiter returns a Waiter over the proxies in table.
func NewWaiter(table *Table, from sets) *Waiter { return &Waiter{table, from} }

// Wait streams how far a revision has come; see the service's contract.
func (w *Waiter) Wait(req *pilotv1.WaitRequest, ss pilotv1.ConfigService_WaitServer) error {
	timeout := defaultWait
	if req.GetTimeout() != nil {
		timeout = req.GetTimeout().AsDuration()
	}
	if timeout <= 0 || timeout > maxWait {
		return fault.Invalid.Errorf("timeout %s: want more than 0 and at most %s", timeout, maxWait)
	}
	ctx, cancel := context.WithTimeout(ss.Context(), timeout)
	defer cancel()
	asked, err := w.reach(ctx, req.GetRevision(), refsOf(req.GetRefs()))
	if err != nil {
		return ss.Send(&pilotv1.WaitResponse{Outcome: pilotv1.WaitResponse_TIMED_OUT, Missing: []string{err.Error()}})
	}
	return w.follow(ctx, asked, ss)
}

// reach waits until the world is at revision, 0 for the current one, with all of refs,
// and returns what to ask the proxies about.
func (w *Waiter) reach(ctx context.Context, revision uint64, refs []model.Ref) (Asked, error) {
	for {
		changed := w.sets.Changed()
		lacking := fmt.Errorf("pilot itself: it has not read revision %d from the bus yet", revision)
		if set := w.sets.Current(); set != nil && set.Snapshot.Revision >= revision {
			var asked Asked
			if asked, lacking = ask(set.Snapshot, revision, refs); lacking == nil {
				return asked, nil
			}
			revision = asked.Revision
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Asked{}, lacking
		}
	}
}

// ask says what proxies must have that refs of revision are in force. The error says
// which of them pilot itself cannot tell proxies of yet.
func ask(s *model.Snapshot, revision uint64, refs []model.Ref) (Asked, error) {
	asked := Asked{Revision: cmp.Or(revision, s.Revision)}
	if len(refs) == 0 {
		refs = changedAt(s, asked.Revision)
	}
	there := map[model.Ref]bool{}
	for _, o := range s.Objects {
		there[model.RefOf(o)] = true
	}
	for _, ref := range refs {
		if there[ref] {
			asked.Refs = append(asked.Refs, ref)
		} else {
			asked.Gone = append(asked.Gone, ref)
		}
		if len(s.Behind)+len(s.Arrived) == 0 {
			continue
		}
		for _, need := range s.Needs(ref) {
			if why, behind := s.Behind[need]; behind {
				return asked, fmt.Errorf("pilot itself: the registry does not have this of %s yet: %s", need, why)
			}
			asked.Registry = max(asked.Registry, s.Arrived[need])
		}
	}
	return asked, nil
}

func refsOf(refs []*configv1.ObjectRef) []model.Ref {
	out := make([]model.Ref, len(refs))
	for i, r := range refs {
		out[i] = model.Ref{Kind: r.GetKind(), Namespace: r.GetNamespace(), Name: r.GetName()}
	}
	return out
}

func changedAt(s *model.Snapshot, revision uint64) []model.Ref {
	var out []model.Ref
	for _, o := range s.Objects {
		if o.GetMetadata().GetRevision() == revision {
			out = append(out, model.RefOf(o))
		}
	}
	return out
}

// follow sends a message whenever the count changes, the last one with the outcome.
func (w *Waiter) follow(ctx context.Context, asked Asked, ss pilotv1.ConfigService_WaitServer) error {
	var last [2]int
	var refusedSince time.Time
	for first := true; ; first = false {
		setChanged := w.sets.Changed()
		proxies, changed := w.table.Proxies()
		if set := w.sets.Current(); set != nil {
			proxies = append(proxies, absent(proxies, set.Snapshot)...)
		}
		l := LivenessOf(proxies, asked)
		switch {
		case l.Done():
			return ss.Send(response(l, pilotv1.WaitResponse_LIVE))
		case ctx.Err() != nil:
			return ss.Send(response(l, pilotv1.WaitResponse_TIMED_OUT))
		case len(l.Refused) == 0:
			refusedSince = time.Time{}
		case refusedSince.IsZero():
			refusedSince = time.Now()
		case time.Since(refusedSince) >= settle:
			return ss.Send(response(l, pilotv1.WaitResponse_REFUSED))
		}
		if now := [2]int{l.Live, l.Interested}; first || now != last {
			last = now
			if err := ss.Send(response(l, pilotv1.WaitResponse_OUTCOME_UNSPECIFIED)); err != nil {
				return err
			}
		}
		var standing <-chan time.Time
		if !refusedSince.IsZero() {
			standing = time.After(time.Until(refusedSince.Add(settle)))
		}
		select {
		case <-changed:
		case <-setChanged:
		case <-standing:
		case <-ctx.Done():
		}
	}
}

func response(l Liveness, outcome pilotv1.WaitResponse_Outcome) *pilotv1.WaitResponse {
	r := &pilotv1.WaitResponse{
		Outcome: outcome, Interested: uint32(l.Interested), Live: uint32(l.Live), //nolint:gosec // counts of proxies
		Missing: l.Missing[:min(len(l.Missing), maxMissing)],
	}
	for _, name := range slices.Sorted(maps.Keys(l.Refused)) {
		r.Refused = append(r.Refused, refusals(name, l.Refused[name])...)
	}
	return r
}

func refusals(proxy string, rs []Refusal) []*pilotv1.Refusal {
	var out []*pilotv1.Refusal
	for _, r := range rs {
		out = append(out, &pilotv1.Refusal{Proxy: proxy, Resource: r.Resource, Message: r.Message})
	}
	return out
}
