package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
	"github.com/outrigger-mesh/outrigger/e2e/otlp"
)

// traceLimit is for the spans of a request to have come: proxies send them in batches.
const traceLimit = 20 * time.Second

// traceOf asks for the product page in a trace of our own, until the trace is as want
// says.
func (s *site) traceOf(t *testing.T, want func(otlp.Tree) error) otlp.Tree {
	t.Helper()
	id := make([]byte, 16)
	must(rand.Read(id))(t)
	trace := hex.EncodeToString(id)
	request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/productpage", nil))(t)
	request.Header.Set("traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	answer := must(mesh.Do(browser, request))(t)
	if p := readPage(answer); p.Status != http.StatusOK || p.Reviews != "v3" {
		t.Fatalf("want a page with reviews v3, got %s", p)
	}
	var tree otlp.Tree
	if err := await(t, traceLimit, func(context.Context) error {
		tree = s.spans.Trace(trace)
		return want(tree)
	}); err != nil {
		t.Fatalf("%v\nthe trace (of %d spans that came in all):\n%s", err, s.spans.Count(), tree)
	}
	return tree
}

// of says whether a span is of a process of a service, by the name that the process
// gives itself.
func of(service string) func(otlp.Span) bool {
	return func(span otlp.Span) bool { return strings.HasPrefix(span.Service, service) }
}

// under is nil when some span of inner has, on the way up to the root, spans of all the
// outer services, in this order from the root.
func under(tree otlp.Tree, inner string, outer ...string) error {
	for _, span := range tree.Find(of(inner)) {
		rest := outer
		for _, above := range tree.Path(span.ID) {
			if len(rest) > 0 && of(rest[0])(above) {
				rest = rest[1:]
			}
		}
		if len(rest) == 0 {
			return nil
		}
	}
	return fmt.Errorf("no span of %s below %s", inner, strings.Join(outer, " → "))
}

// TestE2E10Trace: one trace covers the whole way with the proxies' spans, and mixer's
// Check is a child of the span of the proxy that asked.
func TestE2E10Trace(t *testing.T) {
	running.only(t, "traced")
	s := running.get(t, "traced", traced)
	s.applyLive(t, s.samples("route-rule-all-v1", "mixer-rule-deny-label")...)
	s.applyLive(t, s.sample("route-rule-reviews-v3"))
	tree := s.traceOf(t, func(tree otlp.Tree) error {
		if err := under(tree, "ratings", "ingress", "productpage", "reviews"); err != nil {
			return err
		}
		if err := under(tree, "details", "ingress", "productpage"); err != nil {
			return err
		}
		return under(tree, "mixer", "ingress", "productpage", "reviews", "ratings")
	})
	checks := tree.Find(func(span otlp.Span) bool { return of("mixer")(span) && strings.Contains(span.Name, "Check") })
	if len(checks) != 1 {
		t.Errorf("mixer has %d spans that are named Check, want one for one question:\n%s", len(checks), tree)
	}
	for _, span := range checks {
		if asker := tree[span.Parent]; !strings.HasPrefix(asker.Service, "ratings") {
			t.Errorf("mixer's %q is a child of %q, want a span of the proxy of ratings:\n%s", span.Name, asker.Service, tree)
		}
	}
	if n := len(tree.Roots()); n != 1 {
		t.Errorf("the trace has %d roots, want one:\n%s", n, tree)
	}
}
