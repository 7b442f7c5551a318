package measure

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/figure"
)

// goals are the rows' goals, with their targets.
func goals(rows []figure.Row) map[string]figure.Target {
	out := map[string]figure.Target{}
	for _, r := range rows {
		out[r.Goal] = r.Target
	}
	return out
}

func TestThePathHasARowForEveryGoal(t *testing.T) {
	b := &bench{Config: Quick("", "", nil)}
	all := b.variants()
	for i, v := range all {
		slow := 1 + float64(i%2) // a way through the mesh takes twice as long
		for range 2 {
			for n := range 100 {
				v.take(slice{latencies: []float64{slow * float64(n)}, asked: 1, spent: time.Millisecond})
			}
			v.close()
		}
	}
	rows := b.pathRows(all)
	bound := figure.Target{MostRatio: 1.05}
	want := map[string]figure.Target{
		"mTLS, two sidecars, 1000/s, p50": bound, "mTLS, two sidecars, 1000/s, p99": bound, "mTLS, two sidecars, 1000/s, CPU": {},
		"reported by a rule, p50": bound, "reported by a rule, p99": bound, "reported by a rule, CPU": {},
		"checked by a rule, p50": bound, "checked by a rule, p99": bound, "checked by a rule, CPU": {},
	}
	if d := cmp.Diff(want, goals(rows)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]float64{2, 2}, rows[1].Ratios()); d != "" {
		t.Errorf("ratios of p99 of a way that takes twice as long (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]float64{98, 98}, rows[1].Baseline); d != "" {
		t.Errorf("p99 of 0 to 99 (-want +got):\n%s", d)
	}
}

func TestMemoryHasARowForEveryProgram(t *testing.T) {
	rows := memoryRows([]*process{
		{what: agentName, sizes: []float64{6, 9, 7}}, {what: agentName, sizes: []float64{5}}, {what: "pilot", sizes: []float64{60}},
	}, 10*time.Minute)
	want := map[string]figure.Target{"memory after 10 min: sidecar-agent": {Most: 7}, "memory after 10 min: pilot": {}}
	if d := cmp.Diff(want, goals(rows)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestTheWholeMeasurementLooksAtMemoryAfterTenMinutes(t *testing.T) {
	c := Whole("", "", nil)
	if c.MemoryAfter != 10*time.Minute || c.MemoryFor != time.Minute || c.Runs != 5 || c.Rate != 1000 || !c.Path || !c.Starts || !c.Changes || !c.Memory {
		t.Errorf("got %+v", c)
	}
}
