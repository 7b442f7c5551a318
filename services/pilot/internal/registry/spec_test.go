package registry

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

func TestWhatAWorkloadSaysOfItself(t *testing.T) {
	for name, c := range map[string]struct {
		w    *configv1.Workload
		want string // part of the refusal, "" for none
	}{
		"as agents do": {w: &configv1.Workload{
			Labels: map[string]string{"app": "a", "example.com/tier": ""}, Ports: map[string]uint32{"http": 8080},
			State: configv1.Workload_DRAINING, Lease: durationpb.New(30 * time.Second), Locality: &configv1.Locality{Region: "eu-1"},
		}},
		"a port that no proxy takes": {&configv1.Workload{Ports: map[string]uint32{"http": 99999}}, `port "http"=99999`},
		"no port":                    {&configv1.Workload{Ports: map[string]uint32{"http": 0}}, `port "http"=0`},
		"a port without a name":      {&configv1.Workload{Ports: map[string]uint32{"": 1}}, `port ""=1`},
		"a label with rubbish":       {&configv1.Workload{Labels: map[string]string{"app": "a\x00"}}, "label"},
		"a label of two":             {&configv1.Workload{Labels: map[string]string{"app": "a,version=v1"}}, "label"},
		"a label without a name":     {&configv1.Workload{Labels: map[string]string{"": "a"}}, "label"},
		"a long label":               {&configv1.Workload{Labels: map[string]string{"app": strings.Repeat("a", 254)}}, "label"},
		"a state of its own":         {&configv1.Workload{State: 17}, "state 17"},
		"a lease for ever":           {&configv1.Workload{Lease: durationpb.New(1000 * time.Hour)}, "lease 1000h"},
		"a lease of nothing":         {&configv1.Workload{Lease: durationpb.New(0)}, "lease 0s"},
		"a place that is none":       {&configv1.Workload{Locality: &configv1.Locality{Zone: "a b"}}, "locality"},
	} {
		err := checkSpec(c.w)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
