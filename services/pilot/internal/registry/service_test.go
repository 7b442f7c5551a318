package registry

import (
	"log/slog"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

func TestAWorkloadIsDeregisteredFromWhereItIs(t *testing.T) {
	own := account(t, "default", "acct")
	for name, c := range map[string]struct {
		caller rpc.Caller
		any    bool
		fault  fault.Kind // 0 for none
	}{
		"itself":                       {caller: rpc.Caller{ID: own, Address: "10.77.1.1:4711"}},
		"another of its account":       {caller: rpc.Caller{ID: own, Address: "10.77.1.2:4711"}, fault: fault.Denied},
		"behind translated addresses":  {caller: rpc.Caller{ID: own, Address: "10.77.1.2:4711"}, any: true},
		"another account at its place": {caller: rpc.Caller{ID: account(t, "default", "other"), Address: "10.77.1.1:4711"}, fault: fault.Denied},
		"an administrator":             {caller: rpc.Caller{Local: true, Admin: true}},
	} {
		to := &shelf{store: NewStore(), refuses: map[string]error{}}
		to.store.Take(bus.Change{Reset: true, Revision: 1, Entries: []bus.Entry{workload("a", "10.77.1.1", "acct", 1)}})
		s := NewService(Config{AnyAddress: c.any}, to.store, to, slog.New(slog.DiscardHandler))
		_, err := s.DeregisterWorkload(rpc.WithCaller(t.Context(), c.caller), &pilotv1.DeregisterWorkloadRequest{Namespace: "default", Name: "a"})
		if fault.Of(err) != c.fault || (err != nil) != (c.fault != 0) {
			t.Errorf("%s: %v, want %v", name, err, c.fault)
		}
		if entries, _, _ := to.store.Entries(); (len(entries) == 0) != (c.fault == 0) {
			t.Errorf("%s: %d workloads are there after %v", name, len(entries), err)
		}
	}
}
