package dispatch

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
)

// BenchmarkCheck1000Rules: a check of which one rule of a thousand decides.
func BenchmarkCheck1000Rules(b *testing.B) {
	d, p := running(b), &probe{}
	var specs []string
	for i := range 1000 {
		specs = append(specs, fmt.Sprintf(
			`r%d: ALLOW 0.2s destination.service == "s%d.default.svc.cluster.local" && source.labels["version"] == "v3" | 7 no`, i, i))
	}
	p.swap(b, d, specs...)
	values := map[string]any{
		"destination.service": "s500.default.svc.cluster.local",
		"source.labels":       map[string]string{"version": "v3"},
	}
	b.ReportAllocs()
	for b.Loop() {
		if v := d.Check(b.Context(), request(values), plan.All); v.Code != codes.PermissionDenied {
			b.Fatalf("got %v", v)
		}
	}
}

// BenchmarkPlan1000Rules: what a change of config costs.
func BenchmarkPlan1000Rules(b *testing.B) {
	p := &probe{}
	var specs []string
	for i := range 1000 {
		specs = append(specs, fmt.Sprintf(`r%d: ALLOW 0.2s destination.service == "s%d" | 7 no`, i, i))
	}
	d := running(b)
	for b.Loop() {
		p.swap(b, d, specs...)
	}
}
