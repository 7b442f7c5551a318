package status

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

func TestLivenessOf(t *testing.T) {
	rule := model.Ref{Kind: "RouteRule", Namespace: "default", Name: "r"}
	uses := map[model.Ref]bool{rule: true}
	nack := []Refusal{{"80", "bad regex"}}
	for name, c := range map[string]struct {
		proxies []Proxy
		want    Liveness
		done    bool
	}{
		"nobody is interested": {proxies: []Proxy{{Name: "a", Target: 9, Acknowledged: 9}}, done: true},
		"all have it": {
			proxies: []Proxy{{Name: "a", Target: 9, Acknowledged: 9, Uses: uses}, {Name: "b", Target: 8, Acknowledged: 8, Uses: uses}},
			want:    Liveness{Interested: 2, Live: 2}, done: true,
		},
		"not acknowledged yet": {
			proxies: []Proxy{{Name: "a", Target: 9, Acknowledged: 7, Uses: uses}},
			want:    Liveness{Interested: 1, Missing: []string{"a"}},
		},
		"not told yet, may come to use it": {
			proxies: []Proxy{{Name: "a", Target: 7, Acknowledged: 7}},
			want:    Liveness{Interested: 1, Missing: []string{"a"}},
		},
		"refused": {
			proxies: []Proxy{{Name: "a", Target: 9, Acknowledged: 7, Uses: uses, Refused: nack}},
			want:    Liveness{Interested: 1, Missing: []string{"a"}, Refused: map[string][]Refusal{"a": nack}},
		},
	} {
		got := LivenessOf(c.proxies, Asked{Refs: []model.Ref{rule}, Revision: 8})
		if c.want.Refused == nil {
			c.want.Refused = map[string][]Refusal{}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
		if got.Done() != c.done {
			t.Errorf("%s: done %v, want %v", name, got.Done(), c.done)
		}
	}
}
