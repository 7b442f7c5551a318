package status

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// still is a bus on which nothing happens.
type still struct{}

func (still) State() bus.State { return bus.State{} }

func (still) Restore(context.Context) (int, error) { return 0, nil }

func TestADeletionIsWaitedForByWhomTheObjectWasUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, table := &feed{changed: make(chan struct{})}, NewTable()
		w := NewWaiter(table, f)
		s := f.put(model.Input{Revision: 5}, rule, other)
		user, bystander := acked(Proxy{Name: "user"}.Told(s, nil, uses(rule, other))), acked(Proxy{Name: "bystander"}.Told(s, nil, uses(other)))
		fresh := Proxy{Name: "fresh"}
		ids := []int{table.Connect(user), table.Connect(bystander), table.Connect(fresh)}
		s = f.put(model.Input{Revision: 6}, other)
		steps := []struct {
			what  string
			apply func()
			want  string
		}{
			{"nobody was told", func() {}, "waits"},
			{"all are told", func() {
				user, bystander, fresh = user.Told(s, nil, uses(other)), bystander.Told(s, nil, uses(other)), fresh.Told(s, nil, uses(other))
				table.Update(ids[0], user)
				table.Update(ids[1], bystander)
				table.Update(ids[2], fresh)
			}, "waits"},
			{"who used it took it", func() { table.Update(ids[0], acked(user)) }, "waits"},
			{"who came just now, with whatever it had, took it", func() { table.Update(ids[2], acked(fresh)) }, "LIVE"},
		}
		ended := wait(t, w, 6, rule)
		for _, step := range steps {
			if step.apply(); step.want == "LIVE" {
				break
			}
			if got := fate(ended); got != step.want {
				t.Errorf("%s: %s, want %s", step.what, got, step.want)
			}
		}
		synctest.Wait()
		select {
		case r := <-ended:
			if r.GetOutcome() != pilotv1.WaitResponse_LIVE || r.GetInterested() != 1 || r.GetLive() != 1 {
				t.Errorf("in the end: got %v, want it live on 1 of 1, the one that used it", r)
			}
		default:
			t.Error("all have it: still waiting")
		}
	})
}

func TestAWaitForADeletionThatComesLateCountsAllTheSame(t *testing.T) {
	f := &feed{changed: make(chan struct{})}
	s := f.put(model.Input{Revision: 5}, rule)
	p := acked(Proxy{Name: "a"}.Told(s, nil, uses(rule)))
	s = f.put(model.Input{Revision: 6})
	p = acked(p.Told(s, nil, uses()))
	asked, err := ask(s, 6, []model.Ref{rule})
	if err != nil {
		t.Fatal(err)
	}
	if l := LivenessOf([]Proxy{p}, asked); l.Live != 1 || l.Interested != 1 {
		t.Errorf("after the deletion: %d of %d, want 1 of 1", l.Live, l.Interested)
	}
	asked.Revision = 7
	if l := LivenessOf([]Proxy{acked(p.Told(f.put(model.Input{Revision: 7}), nil, uses()))}, asked); l.Interested != 0 {
		t.Errorf("of a later revision: %d, want none: it was dropped before", l.Interested)
	}
}

func TestWhatAProxyStillHasCounts(t *testing.T) {
	f := &feed{changed: make(chan struct{})}
	p := acked(Proxy{Name: "a"}.Told(f.put(model.Input{Revision: 5}, rule), nil, uses(rule)))
	p = p.Told(f.put(model.Input{Revision: 6}, rule), nil, uses()) // the rule is for others now
	q := Asked{Refs: []model.Ref{rule}, Revision: 6}
	if l := LivenessOf([]Proxy{p}, q); l.Interested != 1 || l.Live != 0 {
		t.Errorf("told: %d of %d, want 0 of 1: it has the rule as it was", l.Live, l.Interested)
	}
	if l := LivenessOf([]Proxy{acked(p)}, q); l.Interested != 0 {
		t.Errorf("taken: %d, want none", l.Interested)
	}
}

func TestAProxyThatUsesNothingIsNotWaitedFor(t *testing.T) {
	f := &feed{changed: make(chan struct{})}
	p := acked(Proxy{Name: "a"}.Told(f.put(model.Input{Revision: 5}, rule), nil, uses()))
	p = p.Told(f.put(model.Input{Revision: 6}), nil, uses())
	if l := LivenessOf([]Proxy{p}, Asked{Gone: []model.Ref{rule}, Revision: 6}); l.Interested != 0 {
		t.Errorf("%d, want none: it is known to have nothing", l.Interested)
	}
}
