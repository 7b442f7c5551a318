package status

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// registered is a workload's entry; without a lease nobody renews it.
func registered(name string, state configv1.Workload_State, lease time.Duration) *configv1.Object {
	w := &configv1.Workload{Address: "10.77.1.1", Account: name, State: state}
	if lease > 0 {
		w.Lease = durationpb.New(lease)
	}
	return &configv1.Object{
		Kind: "Workload", Metadata: &configv1.Metadata{Namespace: "default", Name: name},
		Spec: &configv1.Object_Workload{Workload: w},
	}
}

func TestAbsent(t *testing.T) {
	s := model.Build(model.Input{Registry: []*configv1.Object{
		registered("ready", configv1.Workload_READY, time.Minute),
		registered("connected", configv1.Workload_READY, time.Minute),
		registered("without-proxy", configv1.Workload_READY, 0),
		registered("not-ready", configv1.Workload_NOT_READY, time.Minute),
		registered("draining", configv1.Workload_DRAINING, time.Minute),
	}})
	var names []string
	for _, p := range absent([]Proxy{{Workload: model.Ref{Kind: "Workload", Namespace: "default", Name: "connected"}}}, s) {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"ready.default"}, names); diff != "" {
		t.Errorf("absent (-want +got):\n%s", diff)
	}
}

func TestAWaitRightAfterAStartCountsWhoIsNotBackYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, table := &feed{changed: make(chan struct{})}, NewTable()
		w := NewWaiter(table, f)
		world := model.Input{Revision: 5, Registry: []*configv1.Object{
			registered("a", configv1.Workload_READY, time.Minute), registered("b", configv1.Workload_READY, time.Minute),
		}}
		s := f.put(world, rule)
		ended := wait(t, w, 5, rule)
		if got := fate(ended); got != "waits" {
			t.Fatalf("nobody is back: %s, want to wait", got)
		}
		a := Proxy{Name: "a.default", Workload: model.Ref{Kind: "Workload", Namespace: "default", Name: "a"}}
		table.Connect(acked(a.Told(s, nil, uses(rule))))
		if got := fate(ended); got != "waits" {
			t.Fatalf("a is back, b is not: %s, want to wait", got)
		}
		world.Registry = world.Registry[:1] // b's lease ends
		f.put(world, rule)
		synctest.Wait()
		if r := <-ended; r.GetOutcome().String() != "LIVE" || r.GetInterested() != 1 || r.GetLive() != 1 {
			t.Errorf("b has left: %s, %d of %d, want LIVE, 1 of 1", r.GetOutcome(), r.GetLive(), r.GetInterested())
		}
	})
}

func TestAWaitNamesWhoDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{changed: make(chan struct{})}
		f.put(model.Input{Revision: 5, Registry: []*configv1.Object{registered("b", configv1.Workload_READY, time.Minute)}}, rule)
		r := <-wait(t, NewWaiter(NewTable(), f), 5, rule)
		if diff := cmp.Diff([]string{"b.default"}, r.GetMissing()); r.GetOutcome().String() != "TIMED_OUT" || diff != "" {
			t.Errorf("%s, missing (-want +got):\n%s", r.GetOutcome(), diff)
		}
	})
}
