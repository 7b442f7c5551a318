package registry

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

func service(name, address, origin string, seq uint64) bus.Entry {
	o := &configv1.Object{Kind: "Service", Metadata: &configv1.Metadata{Name: name, Namespace: "default"},
		Spec: &configv1.Object_Service{Service: &configv1.Service{Address: address}}}
	return bus.Entry{Key: bus.KeyOf(o), Seq: seq, Envelope: &busv1.Envelope{Object: o, Origin: origin}}
}

func workload(name, address, account string, seq uint64) bus.Entry {
	o := &configv1.Object{Kind: "Workload", ApiVersion: "outrigger.dev/v1", Metadata: &configv1.Metadata{Name: name, Namespace: "default"},
		Spec: &configv1.Object_Workload{Workload: &configv1.Workload{Address: address, Account: account, Lease: durationpb.New(30 * time.Second)}}}
	return bus.Entry{Key: bus.KeyOf(o), Seq: seq, Envelope: &busv1.Envelope{Object: o, Origin: originAgent}}
}

func lines(writes []bus.Write) []string {
	var out []string
	for _, w := range writes {
		verb := "put"
		if w.Envelope.GetDeleted() {
			verb = "delete"
		}
		out = append(out, fmt.Sprintf("%s %s %s based on %d", verb, bus.KeyOf(w.Envelope.GetObject()),
			w.Envelope.GetObject().GetService().GetAddress(), w.BasedOn))
	}
	return out
}

func TestPlan(t *testing.T) {
	tiny := netip.MustParsePrefix("10.78.0.0/30") // .1 and .2
	for name, c := range map[string]struct {
		config, registry []bus.Entry
		want             []string
	}{
		"new services get the free addresses": {
			config:   []bus.Entry{service("a", "", "api", 1)},
			registry: []bus.Entry{service("other", "10.78.0.1", "registry:consul", 7)},
			want:     []string{"put Service default/a 10.78.0.2 based on 0"},
		},
		"an address is kept": {
			config:   []bus.Entry{service("a", "", "api", 2)},
			registry: []bus.Entry{service("a", "10.78.0.2", originConfig, 5)},
		},
		"an address that was asked for": {
			config:   []bus.Entry{service("a", "10.99.0.9", "api", 2)},
			registry: []bus.Entry{service("a", "10.78.0.2", originConfig, 5)},
			want:     []string{"put Service default/a 10.99.0.9 based on 5"},
		},
		"what is gone from config goes, what others brought stays": {
			registry: []bus.Entry{service("a", "10.78.0.2", originConfig, 5), service("b", "10.78.0.1", "registry:consul", 6)},
			want:     []string{"delete Service default/a 10.78.0.2 based on 5"},
		},
		"another source's service of the same name is left alone": {
			config:   []bus.Entry{service("a", "", "api", 2)},
			registry: []bus.Entry{service("a", "10.78.0.2", "registry:consul", 5)},
		},
	} {
		if d := cmp.Diff(c.want, lines(plan(c.config, c.registry, tiny))); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

func TestFreeAddressesAreDistinctAndWithinRange(t *testing.T) {
	p := netip.MustParsePrefix("10.78.0.0/28")
	taken := map[string]bool{}
	for i := range 14 {
		a := free(fmt.Sprint("s", i), taken, p)
		if !within(p, a) || taken[a] || a == "10.78.0.0" || a == "10.78.0.15" {
			t.Fatalf("service %d: got %q", i, a)
		}
		taken[a] = true
	}
	if a := free("one too many", taken, p); a != "" {
		t.Errorf("range used up: got %q, want none", a)
	}
}

func TestAdmit(t *testing.T) {
	key := workloadKey("default", "a")
	spec := workload("a", "10.77.1.1", "acct", 0).Envelope.GetObject().GetWorkload()
	gateways := []spiffe.ID{account(t, "default", "gate"), account(t, "elsewhere", "doors")}
	for name, c := range map[string]struct {
		entries []bus.Entry
		want    []string
		fault   fault.Kind
	}{
		"new":              {want: []string{"put Workload default/a  based on 0"}},
		"renewed":          {entries: []bus.Entry{workload("a", "10.77.1.1", "acct", 3)}},
		"moved":            {entries: []bus.Entry{workload("a", "10.77.1.9", "acct", 3)}, want: []string{"put Workload default/a  based on 3"}},
		"name of another":  {entries: []bus.Entry{workload("a", "10.77.1.9", "other", 3)}, fault: fault.Conflict},
		"address of other": {entries: []bus.Entry{workload("b", "10.77.1.1", "other", 3)}, fault: fault.Conflict},
		"address reused": {entries: []bus.Entry{workload("b", "10.77.1.1", "acct", 3)},
			want: []string{"put Workload default/a  based on 0", "delete Workload default/b  based on 3"}},
		"address of a gateway":                  {entries: []bus.Entry{workload("b", "10.77.1.1", "gate", 3)}, want: []string{"put Workload default/a  based on 0"}},
		"name of a gateway":                     {entries: []bus.Entry{workload("a", "10.77.1.1", "gate", 3)}, fault: fault.Conflict},
		"address of a gateway's name elsewhere": {entries: []bus.Entry{workload("b", "10.77.1.1", "doors", 3)}, fault: fault.Conflict},
	} {
		writes, err := admit(key, spec, c.entries, gateways)
		if fault.Of(err) != c.fault || (err != nil) != (c.fault != 0) {
			t.Errorf("%s: got %v, want %v", name, err, c.fault)
		}
		if d := cmp.Diff(c.want, lines(writes)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

func account(t *testing.T, namespace, name string) spiffe.ID {
	t.Helper()
	id, err := spiffe.New("cluster.local", namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Two gateways of one machine have one address; each may come and be renewed, and
// makes room only for another of its own account.
func TestGatewaysShareAnAddress(t *testing.T) {
	gateways := []spiffe.ID{account(t, "default", "in"), account(t, "default", "out")}
	in, out, app := workload("in", "10.77.0.1", "in", 1), workload("out", "10.77.0.1", "out", 2), workload("app", "10.77.0.1", "app", 3)
	for name, c := range map[string]struct {
		next bus.Entry
		want []string
	}{
		"renewed beside others":        {in, nil},
		"another of the same account":  {workload("in-2", "10.77.0.1", "in", 0), []string{"put Workload default/in-2  based on 0", "delete Workload default/in  based on 1"}},
		"one that has an address anew": {workload("out", "10.77.0.9", "out", 0), []string{"put Workload default/out  based on 2"}},
	} {
		writes, err := admit(c.next.Key, c.next.Envelope.GetObject().GetWorkload(), []bus.Entry{in, out, app}, gateways)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, lines(writes)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

func TestLeasesBeginAnewAfterAStart(t *testing.T) {
	entries := []bus.Entry{workload("a", "10.77.1.1", "acct", 1)}
	seen, now := map[bus.Key]time.Time{}, time.Unix(1000, 0)
	for _, step := range []struct {
		after time.Duration
		over  int
	}{{0, 0}, {30 * time.Second, 0}, {31 * time.Second, 1}} {
		if got := len(expired(entries, seen, now.Add(step.after))); got != step.over {
			t.Errorf("after %s: %d leases ended, want %d", step.after, got, step.over)
		}
	}
}

// TestLeasesBeginAnewAfterAPause: a pilot that stood still heard of nobody meanwhile.
func TestLeasesBeginAnewAfterAPause(t *testing.T) {
	to := &shelf{store: NewStore(), refuses: map[string]error{}}
	to.store.Take(bus.Change{Reset: true, Revision: 1, Entries: []bus.Entry{workload("a", "10.77.1.1", "acct", 1)}})
	s := NewService(Config{}, to.store, to, slog.New(slog.DiscardHandler))
	begun := time.Unix(1000, 0)
	at, there := time.Duration(0), 0
	look := func(until time.Duration) {
		for ; at <= until; at += sweep {
			s.expire(t.Context(), begun.Add(at))
		}
		entries, _, _ := to.store.Entries()
		there = len(entries)
	}
	if look(25 * time.Second); there != 1 {
		t.Fatal("the lease ended before its time")
	}
	at += time.Minute // the pause
	if look(at + 29*time.Second); there != 1 {
		t.Error("a lease ended within 30s after a pause of a minute")
	}
	if look(at + 3*time.Second); there != 0 {
		t.Error("a lease did not end with nobody heard for more than 30s")
	}
}
