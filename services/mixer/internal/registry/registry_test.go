package registry

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

func workload(ns, name, account, address string, labels map[string]string) *configv1.Object {
	return &configv1.Object{
		Kind: "Workload", Metadata: &configv1.Metadata{Name: name, Namespace: ns},
		Spec: &configv1.Object_Workload{Workload: &configv1.Workload{Address: address, Account: account, Labels: labels}},
	}
}

func service(ns, name string, selector map[string]string) *configv1.Object {
	return &configv1.Object{
		Kind: "Service", Metadata: &configv1.Metadata{Name: name, Namespace: ns},
		Spec: &configv1.Object_Service{Service: &configv1.Service{Selector: selector}},
	}
}

func world() *Snapshot {
	v := func(app, version string) map[string]string { return map[string]string{"app": app, "version": version} }
	return Build([]*configv1.Object{
		service("default", "reviews", map[string]string{"app": "reviews"}),
		service("default", "all", map[string]string{"version": "v3"}),
		service("default", "nothing", nil),
		service("other", "reviews", map[string]string{"app": "reviews"}),
		workload("default", "reviews-v2", "reviews", "10.77.1.2", v("reviews", "v2")),
		workload("default", "reviews-v3", "reviews", "10.77.1.3", v("reviews", "v3")),
		workload("default", "twin-a", "twins", "10.77.1.5", nil),
		workload("default", "twin-b", "twins", "10.77.1.5", nil),
		workload("default", "legacy", "", "10.77.1.6", v("legacy", "v1")),
		workload("default", "broken", "x", "not an address", nil),
		workload("outrigger-system", "ingress", "ingress", "10.77.0.1", map[string]string{"app": "ingress"}),
		workload("outrigger-system", "egress", "egress", "10.77.0.1", map[string]string{"app": "egress"}),
		workload("default", "impostor", "nothing", "10.77.1.7", nil),
	}, "cluster.local", 7)
}

func TestSource(t *testing.T) {
	t.Parallel()
	const id = "spiffe://cluster.local/ns/default/sa/"
	hidden := map[string]any{}
	hide(hidden)
	certificate := func(account string) map[string]any {
		out := map[string]any{}
		hide(out)
		out["source.namespace"], out["source.serviceAccount"] = "default", account
		return out
	}
	v3 := map[string]any{
		"source.labels": map[string]string{"app": "reviews", "version": "v3"}, "source.name": "reviews-v3",
		"source.namespace": "default", "source.serviceAccount": "reviews", "source.service": "all.default.svc.cluster.local",
		"source.uid": "outrigger://reviews-v3.default", "source.domain": "cluster.local",
	}
	for _, c := range []struct {
		name, address, user string
		want                map[string]any
	}{
		{"address and account agree", "10.77.1.3", id + "reviews", v3},
		{"mapped address", "::ffff:10.77.1.3", id + "reviews", v3},
		{"another account", "10.77.1.3", id + "thief", certificate("thief")},
		{"address of nobody", "10.77.1.9", id + "reviews", certificate("reviews")},
		{"no address", "", id + "reviews", certificate("reviews")},
		{"two that cannot be told apart", "10.77.1.5", id + "twins", certificate("twins")},
		{"another trust domain", "10.77.1.3", "spiffe://evil/ns/default/sa/reviews", hidden},
		{"no SPIFFE ID", "10.77.1.3", "https://reviews", hidden},
		{"plain text from a workload", "10.77.1.3", "", hidden},
		{"workload without account", "10.77.1.6", id + "", hidden},
		{"a gateway, of two at one address", "10.77.0.1", "spiffe://cluster.local/ns/outrigger-system/sa/ingress", map[string]any{
			"source.labels": map[string]string{"app": "ingress"}, "source.name": "ingress", "source.namespace": "outrigger-system",
			"source.serviceAccount": "ingress", "source.service": "ingress.outrigger-system.svc.cluster.local",
			"source.uid": "outrigger://ingress.outrigger-system", "source.domain": "cluster.local",
		}},
		{"a workload at a gateway's address", "10.77.0.1", id + "ingress", certificate("ingress")},
		{"an account with a service's name", "10.77.1.7", id + "nothing", map[string]any{
			"source.labels": map[string]string{}, "source.name": "impostor", "source.namespace": "default",
			"source.serviceAccount": "nothing", "source.service": nil, "source.uid": "outrigger://impostor.default", "source.domain": "cluster.local",
		}},
		{"plain text from outside", "192.0.2.1", "", map[string]any{}},
	} {
		var a netip.Addr
		if c.address != "" {
			a = netip.MustParseAddr(c.address)
		}
		if d := cmp.Diff(c.want, world().Source(a, c.user)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestDestination(t *testing.T) {
	t.Parallel()
	s := world()
	w, ok := s.Named("default", "reviews-v3")
	if !ok {
		t.Fatal("reviews-v3 is not known")
	}
	for asked, want := range map[string]string{
		"reviews.default.svc.cluster.local": "reviews.default.svc.cluster.local",
		"all.default.svc.cluster.local":     "all.default.svc.cluster.local",
		"reviews.other.svc.cluster.local":   "all.default.svc.cluster.local",
		"":                                  "all.default.svc.cluster.local",
	} {
		if got := s.Destination(w, asked)["destination.service"]; got != want {
			t.Errorf("asked for %q: %v, want %s", asked, got, want)
		}
	}
	if lonely, _ := s.Named("default", "legacy"); s.Destination(lonely, "x")["destination.service"] != nil {
		t.Error("a workload of no service has one")
	}
}

func TestWhoIsBehindAService(t *testing.T) {
	t.Parallel()
	s := world()
	for _, c := range []struct {
		host, domain, namespace, account string
		want                             bool
	}{
		{"reviews.default.svc.cluster.local", "cluster.local", "default", "reviews", true},
		{"reviews.default.svc.cluster.local", "cluster.local", "default", "ratings", false},
		{"reviews.default.svc.cluster.local", "cluster.local", "other", "reviews", false},
		{"reviews.default.svc.cluster.local", "evil.local", "default", "reviews", false},
		{"unknown.default.svc.cluster.local", "cluster.local", "default", "reviews", false},
	} {
		id, err := spiffe.New(c.domain, c.namespace, c.account)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Serves(c.host, id); got != c.want {
			t.Errorf("%s is behind %s: %v, want %v", id, c.host, got, c.want)
		}
	}
	if services, workloads := s.Sizes(); services != 4 || workloads != 9 {
		t.Errorf("%d services and %d workloads, want 4 and 9", services, workloads)
	}
}

func TestALabelAloneDoesNotJoinAServiceThatNamesItsAccounts(t *testing.T) {
	app := map[string]string{"app": "reviews"}
	named := service("default", "reviews", app)
	named.GetService().Accounts = []string{"reviews"}
	s := Build([]*configv1.Object{
		workload("default", "honest", "reviews", "10.77.1.1", app), workload("default", "impostor", "productpage", "10.77.1.2", app), named,
	}, "cluster.local", 1)
	for name, want := range map[string]int{"honest": 1, "impostor": 0} {
		if w, ok := s.Named("default", name); !ok || len(w.Services) != want {
			t.Errorf("%s: %+v, want %d services", name, w, want)
		}
	}
}

// TestWhoLeftIsKnownUntilReplaced: a rule about a caller holds while that caller calls.
func TestWhoLeftIsKnownUntilReplaced(t *testing.T) {
	t.Parallel()
	labels := func(v string) map[string]string { return map[string]string{"app": "reviews", "version": v} }
	svc := service("default", "reviews", map[string]string{"app": "reviews"})
	const user = "spiffe://cluster.local/ns/default/sa/reviews"
	at := netip.MustParseAddr("10.77.1.3")
	here := workload("default", "reviews-v3", "reviews", at.String(), labels("v3"))
	for name, c := range map[string]struct {
		next []*configv1.Object
		want any // source.labels
	}{
		"nobody took its place":      {[]*configv1.Object{svc}, labels("v3")},
		"it is back as another one":  {[]*configv1.Object{svc, workload("default", "reviews-v3", "reviews", "10.77.1.9", labels("v3"))}, nil},
		"its address has a new one":  {[]*configv1.Object{svc, workload("default", "reviews-v4", "reviews", at.String(), labels("v4"))}, labels("v4")},
		"a stranger has its address": {[]*configv1.Object{svc, workload("default", "x", "x", at.String(), labels("x"))}, labels("v3")},
	} {
		s := Build([]*configv1.Object{svc, here}, "cluster.local", 1)
		for revision := range uint64(3) { // it is not forgotten after a while
			s = Build(c.next, "cluster.local", 2+revision).After(s)
		}
		if d := cmp.Diff(c.want, s.Source(at, user)["source.labels"]); d != "" {
			t.Errorf("%s: labels (-want +got):\n%s", name, d)
		}
		if _, n := s.Sizes(); n != len(c.next)-1 {
			t.Errorf("%s: %d workloads, want %d", name, n, len(c.next)-1)
		}
	}
}

func TestNoMoreAreRememberedThanMayBe(t *testing.T) {
	t.Parallel()
	s := Build(nil, "cluster.local", 0)
	for i := range 3 {
		var many []*configv1.Object
		for n := range maxDeparted / 2 {
			a := netip.AddrFrom4([4]byte{10, byte(i), byte(n >> 8), byte(n)})
			many = append(many, workload("default", a.String(), "x", a.String(), nil))
		}
		s = Build(many, "cluster.local", 1).After(s)
	}
	s = Build(nil, "cluster.local", 1).After(s)
	if len(s.departed) != maxDeparted || !s.Known(netip.MustParseAddr("10.2.0.1")) || s.Known(netip.MustParseAddr("10.0.0.1")) {
		t.Errorf("%d are remembered, want the last %d", len(s.departed), maxDeparted)
	}
}
