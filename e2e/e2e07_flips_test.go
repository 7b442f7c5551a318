package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/load"
)

// Numbers of item 7, and some more for the load: answers must come at least at flipRate.
// A flip every flipPause is one that proxies have in force before the next comes.
const (
	flips     = 300
	flipRate  = 300
	flipPause = 100 * time.Millisecond
)

// TestE2E07Flips: 300 route changes in a row while at least 300 requests a second flow
// through the ingress, and not one answer other than 200. Clusters come and go with
// the rules, so that make-before-break is what is tested.
func TestE2E07Flips(t *testing.T) {
	s := common(t)
	targets := []string{"route-rule-reviews-v2", "route-rule-reviews-v3", "route-rule-reviews-50-v3", "route-rule-all-v1"}
	var texts [][]byte
	for _, name := range targets {
		texts = append(texts, must(os.ReadFile(s.sample(name)))(t))
	}
	s.applyLive(t, s.sample("route-rule-all-v1"))
	g := load.Start(t.Context(), load.Config{
		URL: s.url + "/api/v1/products/0/reviews", Rate: flipRate + flipRate/10, Connections: 64, Limit: 4 * time.Minute,
	})
	defer g.Stop()
	began := time.Now()
	pace := time.NewTicker(flipPause)
	defer pace.Stop()
	for i := range flips {
		<-pace.C
		if i%10 == 9 { // the clusters of all versions go, and come again with the next rule
			s.deleteRule(t, "reviews-default")
			continue
		}
		body := map[string]any{"documents": []any{map[string]any{"name": targets[i%len(targets)], "content": texts[i%len(targets)]}}}
		answer := must(s.REST(t.Context(), "pilot", http.MethodPost, "/v1/objects:apply", body))(t)
		if answer.Status != http.StatusOK {
			t.Fatalf("flip %d: status %d: %s", i, answer.Status, answer.Body)
		}
	}
	took := time.Since(began)
	eventually(t, settleLimit, s.inForce)
	always(t, 2*time.Second, func(context.Context) error {
		if so := g.So(); len(so.Errors) > 0 {
			return fmt.Errorf("%d flips in %v: %s", flips, took, so)
		}
		return nil
	})
	result := g.Stop()
	t.Logf("%d flips in %v under load: %s", flips, took.Round(time.Millisecond), result)
	check(t, result.Clean())
	if result.Rate() < flipRate {
		t.Errorf("%.0f answers a second, want at least %d: %s", result.Rate(), flipRate, result)
	}
}

func (s *site) deleteRule(t *testing.T, name string) {
	t.Helper()
	answer := must(s.REST(t.Context(), "pilot", http.MethodDelete, "/v1/objects/RouteRule/default/"+name, nil))(t)
	if answer.Status != http.StatusOK {
		t.Fatalf("delete %s: status %d: %s", name, answer.Status, answer.Body)
	}
}
