package model

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// A workload chooses its labels when it registers; its account is proven.
func TestALabelAloneDoesNotJoinAServiceThatNamesItsAccounts(t *testing.T) {
	workload := func(name, account string) *configv1.Object {
		return &configv1.Object{Kind: "Workload", Metadata: &configv1.Metadata{Name: name, Namespace: "default"},
			Spec: &configv1.Object_Workload{Workload: &configv1.Workload{Address: "10.77.1.1", Account: account, Labels: map[string]string{"app": "reviews"}}}}
	}
	for name, c := range map[string]struct{ members, workloads, accounts []string }{
		"named": {[]string{"reviews"}, []string{"honest"}, []string{"spiffe://cluster.local/ns/default/sa/reviews"}},
		"none named": {nil, []string{"honest", "impostor", "nobody"},
			[]string{"spiffe://cluster.local/ns/default/sa/productpage", "spiffe://cluster.local/ns/default/sa/reviews"}},
	} {
		s := Build(Input{Settings: Settings{Domain: "cluster.local", TrustDomain: "cluster.local"}, Registry: []*configv1.Object{
			workload("honest", "reviews"), workload("impostor", "productpage"), workload("nobody", ""),
			{Kind: "Service", Metadata: &configv1.Metadata{Name: "reviews", Namespace: "default"}, Spec: &configv1.Object_Service{
				Service: &configv1.Service{Selector: map[string]string{"app": "reviews"}, Accounts: c.members}}},
		}})
		svc := s.Service("reviews.default.svc.cluster.local")
		var got []string
		for _, w := range svc.Workloads {
			got = append(got, w.Ref.Name)
		}
		if d := cmp.Diff(c.workloads, got); d != "" {
			t.Errorf("%s: workloads (-want +got)\n%s", name, d)
		}
		if d := cmp.Diff(c.accounts, svc.Accounts); d != "" {
			t.Errorf("%s: accounts (-want +got)\n%s", name, d)
		}
	}
}
