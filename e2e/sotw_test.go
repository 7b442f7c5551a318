package e2e

import (
	"context"
	"testing"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// TestStateOfTheWorld: proxies that ask by the older of the two protocols get the same.
func TestStateOfTheWorld(t *testing.T) {
	s := own(t, mesh.Config{Fleet: func(f *mesh.FleetFile) {
		f.Sidecar(func(sidecar map[string]any) {
			args, _ := sidecar["args"].([]any)
			sidecar["args"] = append(append([]any{}, args...), "--protocol=sotw")
		})
		f.Flags("ingress", "--envoy.protocol=sotw")
	}})
	st := must(s.status(t.Context()))(t)
	asked := map[string]int{}
	for _, p := range st.Proxies {
		asked[p.Protocol]++
	}
	if asked["sotw"] != 7 || asked["delta"] != 1 {
		t.Fatalf("want six sidecars and ingress by sotw, egress by delta; got %v", asked)
	}
	s.applyLive(t, s.samples("route-rule-all-v1", "route-rule-reviews-test-v2")...)
	check(t, s.showsStars(t.Context(), "", "v1", inRow))
	check(t, s.showsStars(t.Context(), "jason", "v2", inRow))
	s.applyLive(t, s.sample("route-rule-reviews-50-v3")) // v1 alone does not ask ratings
	s.underLoad(t, func(t *testing.T) {
		for i := range 4 * flipRound {
			s.flip(t, i)
		}
		eventually(t, settleLimit, s.inForce)
	})
	eventually(t, soon, func(ctx context.Context) error { return s.showsStars(ctx, "jason", "v2", inRow) })
}
