package status

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

var (
	stuck = model.Ref{Kind: "Service", Namespace: "default", Name: "stuck"}
	other = model.Ref{Kind: "Service", Namespace: "default", Name: "other"}
	rule  = model.Ref{Kind: "RouteRule", Namespace: "default", Name: "to-stuck"}
)

// feed is a source of sets that the test changes.
type feed struct {
	mu      sync.Mutex
	set     *translate.Set
	changed chan struct{}
}

func (f *feed) Current() *translate.Set { f.mu.Lock(); defer f.mu.Unlock(); return f.set }

func (f *feed) Changed() <-chan struct{} { f.mu.Lock(); defer f.mu.Unlock(); return f.changed }

// put makes a world with the objects named, all of the given revision.
func (f *feed) put(in model.Input, refs ...model.Ref) *model.Snapshot {
	in.Settings.Domain, in.Read = "cluster.local", in.Revision
	for _, r := range refs {
		o := &configv1.Object{Kind: r.Kind, Metadata: &configv1.Metadata{Namespace: r.Namespace, Name: r.Name, Revision: in.Revision}}
		if r.Kind == "RouteRule" {
			o.Spec = &configv1.Object_RouteRule{RouteRule: &configv1.RouteRule{Destination: &configv1.ServiceName{Name: "stuck"}}}
		}
		in.Config = append(in.Config, o)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = translate.NewSet(model.Build(in), translate.Mesh{}, nil)
	close(f.changed)
	f.changed = make(chan struct{})
	return f.set.Snapshot
}

// answers collects what a Wait sends.
type answers struct {
	grpc.ServerStream
	ctx context.Context
	all []*pilotv1.WaitResponse
}

func (a *answers) Context() context.Context { return a.ctx }

func (a *answers) Send(r *pilotv1.WaitResponse) error { a.all = append(a.all, r); return nil }

// wait starts a Wait and returns where its answers are once it has ended.
func wait(t *testing.T, w *Waiter, revision uint64, refs ...model.Ref) <-chan *pilotv1.WaitResponse {
	req := &pilotv1.WaitRequest{Revision: revision, Timeout: durationpb.New(10 * time.Second)}
	for _, r := range refs {
		req.Refs = append(req.Refs, &configv1.ObjectRef{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name})
	}
	ended := make(chan *pilotv1.WaitResponse, 1) // 1: the test may have given up
	go func() {
		a := &answers{ctx: t.Context()}
		if err := w.Wait(req, a); err != nil {
			t.Errorf("wait: %v", err)
		}
		ended <- a.all[len(a.all)-1]
	}()
	return ended
}

// fate is how a wait ended, or that it has not.
func fate(ended <-chan *pilotv1.WaitResponse) string {
	synctest.Wait()
	select {
	case r := <-ended:
		return r.GetOutcome().String()
	default:
		return "waits"
	}
}

func uses(refs ...model.Ref) map[model.Ref]bool {
	m := map[model.Ref]bool{}
	for _, r := range refs {
		m[r] = true
	}
	return m
}

// acked is p when it took all that it was told.
func acked(p Proxy) Proxy {
	p = p.Took()
	p.Acknowledged = p.Target
	return p
}

func TestAStuckObjectHoldsBackOnlyItsOwnWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, table := &feed{changed: make(chan struct{})}, NewTable()
		w := NewWaiter(table, f)
		s := f.put(model.Input{Revision: 5, RegistryRevision: 1, Behind: map[model.Ref]string{stuck: "too large"}}, stuck, other, rule)
		p := acked(Proxy{Name: "a"}.Told(s, nil, uses(other)))
		id := table.Connect(p)
		onStuck, onRule := wait(t, w, 5, stuck), wait(t, w, 5, rule)
		if got := fate(wait(t, w, 5, other)); got != "LIVE" {
			t.Errorf("another object: %s, want LIVE", got)
		}
		late := wait(t, w, 5, stuck)
		time.Sleep(9 * time.Second)
		for what, ended := range map[string]<-chan *pilotv1.WaitResponse{"stuck object": onStuck, "rule for it": onRule} {
			if got := fate(ended); got != "waits" {
				t.Errorf("%s: %s, want it to wait", what, got)
			}
		}
		time.Sleep(time.Second)
		r := <-late
		if r.GetOutcome() != pilotv1.WaitResponse_TIMED_OUT || !strings.Contains(strings.Join(r.GetMissing(), ""), "Service default/stuck yet: too large") {
			t.Errorf("in the end: got %v, want the object and the reason", r)
		}

		// It comes after all: at the same revision, which the proxy has acknowledged.
		again := wait(t, w, 5, stuck)
		s = f.put(model.Input{Revision: 5, RegistryRevision: 2, Arrived: map[model.Ref]uint64{stuck: 2}}, stuck, other, rule)
		if got := fate(again); got != "waits" {
			t.Errorf("copied, and no proxy was told: %s, want it to wait", got)
		}
		p = p.Told(s, nil, uses(other, stuck))
		table.Update(id, p)
		if got := fate(again); got != "waits" {
			t.Errorf("told, and not taken: %s, want it to wait", got)
		}
		table.Update(id, acked(p))
		if got := fate(again); got != "LIVE" {
			t.Errorf("taken: %s, want LIVE", got)
		}
	})
}

func TestStatusShowsWhatIsStuck(t *testing.T) {
	f, table := &feed{changed: make(chan struct{})}, NewTable()
	s := f.put(model.Input{Revision: 5, Behind: map[model.Ref]string{stuck: "too large"}}, stuck, other)
	table.Connect(acked(Proxy{Name: "a"}.Told(s, nil, uses(other, stuck))))
	none := func() []*pilotv1.Problem { return nil }
	r, err := NewService(table, f, Sources{Config: still{}, Registry: still{}, Files: none}).GetStatus(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ps := r.GetRegistryProblems(); len(ps) != 1 || ps[0].GetObject() != stuck.String() || !strings.Contains(ps[0].GetMessage(), "too large") {
		t.Errorf("problems: got %v, want the stuck service and why", ps)
	}
	i := slices.IndexFunc(r.GetObjects(), func(o *pilotv1.ObjectStatus) bool { return o.GetRef().GetName() == "stuck" })
	if o := r.GetObjects()[i]; o.GetLive() != 0 || o.GetInterested() != 1 {
		t.Errorf("the stuck service: live on %d of %d, want 0 of 1", o.GetLive(), o.GetInterested())
	}
	if o := r.GetObjects()[1-i]; o.GetLive() != 1 {
		t.Errorf("the other service: live on %d, want 1", o.GetLive())
	}
}
