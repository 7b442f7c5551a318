package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/load"
)

// Numbers of item 7, and some more for the load: answers must come at least at flipRate.
// A flip every flipPause is one that proxies have in force before the next comes.
// After flipRound flips, or any number of rounds, none of their rules is left.
const (
	flips     = 25 * flipRound
	flipRound = 2 * 6
	flipRate  = 300
	deepRate  = 30
	flipPause = 100 * time.Millisecond
)

// flipRule routes a service to versions; with none to all that there are.
func flipRule(service string, versions ...string) string {
	text := fmt.Sprintf("apiVersion: outrigger.dev/v1\nkind: RouteRule\nmetadata: {name: flip-%s, namespace: default}\n"+
		"spec:\n  destination: {name: %s}\n  precedence: 5\n", service, service)
	if len(versions) > 0 {
		text += "  route:\n"
	}
	for i, version := range versions {
		weight := 100 / len(versions)
		if i == 0 {
			weight = 100 - weight*(len(versions)-1)
		}
		text += fmt.Sprintf("  - {labels: {version: %s}, weight: %d}\n", version, weight)
	}
	return text
}

// flip is the change of a number: by turns of the way into the mesh and of one deep
// inside, once for one caller only. Clusters come and go with it; an empty document
// deletes the rule.
func flip(i int) (service, document string) {
	if i%2 == 0 {
		routes := []string{flipRule("productpage", "v1"), flipRule("productpage"), ""}
		return "productpage", routes[i/2%len(routes)]
	}
	routes := []string{flipRule("reviews", "v1"), flipRule("reviews", "v2", "v3"), flipRule("reviews", "v3"), flipRule("reviews", "v1", "v2", "v3"),
		strings.Replace(flipRule("reviews", "v2"), "  route:", "  match: {source: {name: productpage}}\n  route:", 1), ""}
	return "reviews", routes[i/2%len(routes)]
}

// TestE2E07Flips: 300 route changes in a row while at least 300 requests a second flow
// through the ingress, and not one answer other than 200, nor one without what ratings,
// the last hop, should have said.
func TestE2E07Flips(t *testing.T) {
	s := common(t)
	s.asksRatings(t)
	loads := map[string]*load.Generator{}
	for path, rate := range map[string]int{"/api/v1/products": flipRate + flipRate/10, deepPath: deepRate} {
		loads[path] = load.Start(t.Context(), load.Config{
			URL: s.url + path, Wrong: noRatings, Rate: rate, Connections: 48, Limit: 4 * time.Minute,
		})
		defer loads[path].Stop()
	}
	began := time.Now()
	pace := time.NewTicker(flipPause)
	defer pace.Stop()
	for i := range flips {
		<-pace.C
		s.flip(t, i)
	}
	took := time.Since(began)
	eventually(t, settleLimit, s.inForce)
	always(t, 2*time.Second, func(context.Context) error { return nil }) // what was removed is removed last
	rate := 0.0
	for path, g := range loads {
		result := g.Stop()
		t.Logf("%d flips in %v, %s: %s", flips, took.Round(time.Millisecond), path, result)
		if err := result.Clean(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		rate += result.Rate()
	}
	if rate < flipRate {
		t.Errorf("%.0f answers a second, want at least %d", rate, flipRate)
	}
}

// flip makes the change of a number by the API.
func (s *site) flip(t *testing.T, i int) {
	t.Helper()
	service, document := flip(i)
	method, path, body := http.MethodPost, "/v1/objects:apply", any(map[string]any{"documents": []any{map[string]any{"name": service, "content": []byte(document)}}})
	if document == "" {
		method, path, body = http.MethodDelete, "/v1/objects/RouteRule/default/flip-"+service, nil
	}
	answer, err := s.REST(t.Context(), "pilot", method, path, body)
	if err != nil || answer.Status != http.StatusOK {
		t.Fatalf("flip %d: %v, status %d: %s", i, err, answer.Status, answer.Body)
	}
}
