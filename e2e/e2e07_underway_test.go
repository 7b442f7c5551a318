package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"testing"
)

// boundRule sends the callers of one service to one version of another.
func boundRule(service, version string) string {
	return fmt.Sprintf("apiVersion: outrigger.dev/v1\nkind: RouteRule\nmetadata: {name: bound-%s, namespace: default}\n"+
		"spec:\n  destination: {name: %s}\n  precedence: 9\n  match: {source: {name: productpage}}\n"+
		"  route:\n  - {labels: {version: %s}}\n", service, service, version)
}

// TestE2E07UnderWay: rules for one caller come and go while its requests are under way.
// Each request ends as it began, and the first one after a change goes the new way.
func TestE2E07UnderWay(t *testing.T) {
	s := common(t)
	s.applyLive(t, s.sample("route-rule-all-v1"))
	s.applyLive(t, s.samples("route-rule-reviews-v3", "route-rule-ratings-delay-2s")...)
	reviews := must(s.addresses(t.Context(), "reviews.default.svc.cluster.local."))(t)[0]
	toDetails, toReviews := write(t, "details.yaml", boundRule("details", "v1")), write(t, "reviews.yaml", boundRule("reviews", "v1"))
	for _, change := range []struct {
		args []string
		then string // who answers afterwards
	}{
		{[]string{"apply", "--wait", "-f", toDetails}, "reviews-v3"},
		{[]string{"delete", "--wait", "-f", toDetails}, "reviews-v3"},
		{[]string{"apply", "--wait", "-f", toReviews}, "reviews-v1"},
	} {
		began := s.underWay(t, reviews)
		s.expect(t, 0, nil, change.args...)
		if got := <-began; got != "reviews-v3 200" {
			t.Errorf("%v: what was under way ended with %s, want reviews-v3 200", change.args, got)
		}
		if pod := s.answers(t, reviews, "reviews", http.StatusOK); pod != change.then {
			t.Errorf("after %v %s answered, want %s", change.args, pod, change.then)
		}
	}
	s.expect(t, 0, nil, "delete", "--wait", "-f", toReviews)
	if pod := s.answers(t, reviews, "reviews", http.StatusOK); pod != "reviews-v3" {
		t.Errorf("without the rule %s answered, want reviews-v3", pod)
	}
}

// underWay begins a request that takes two seconds; the channel tells how it ended.
func (s *site) underWay(t *testing.T, address string) <-chan string {
	t.Helper()
	ended := make(chan string, 1) // 1: the test may have given up
	sent := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }, // one request, written once
	})
	go func() {
		got, err := s.review(ctx, address, "reviews")
		if err != nil {
			ended <- err.Error()
			return
		}
		ended <- fmt.Sprint(got.pod, " ", got.status)
	}()
	<-sent
	return ended
}
