package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestE2E03Routes: the documented tasks T1 to T4 of the sample application, each change
// seen within one second of apply returning.
func TestE2E03Routes(t *testing.T) {
	s := common(t)
	t.Run("T1 request routing", s.testRouting)
	t.Run("T2 fault injection", s.testInjection)
	t.Run("T3 traffic shifting", s.testShifting)
	t.Run("T4 timeouts", s.testTimeouts)
}

// inRow is how many pages in a row must look alike.
const inRow = 6

func (s *site) testRouting(t *testing.T) {
	seen(t, s.apply(t, s.sample("route-rule-all-v1")), func(ctx context.Context) error {
		return s.showsStars(ctx, "", "v1", inRow)
	})
	s.expect(t, 0, []string{"name: reviews-default", "destination:", "---"}, "get", "routerules", "-o", "yaml")
	seen(t, s.apply(t, s.sample("route-rule-reviews-test-v2")), func(ctx context.Context) error {
		return s.showsStars(ctx, "jason", "v2", inRow)
	})
	check(t, s.showsStars(t.Context(), "", "v1", inRow))
	check(t, s.showsStars(t.Context(), "jasonx", "v1", inRow))
}

func (s *site) testInjection(t *testing.T) {
	s.applyLive(t, s.samples("route-rule-all-v1", "route-rule-reviews-test-v2")...)
	applied := s.apply(t, s.sample("route-rule-ratings-test-delay"))
	// A page for jason takes six seconds now, which is the point: its start counts.
	began := time.Now()
	var p page
	for {
		var err error
		p, err = s.page(t.Context(), "jason")
		check(t, err)
		if p.NoReviews || time.Since(began) > soon+p.Took {
			break
		}
	}
	if !p.NoReviews || p.Took < 5*time.Second || p.Took > 8*time.Second {
		t.Errorf("after %q jason waits about six seconds and gets no reviews; got %s", applied.Args, p)
	}
	check(t, s.showsStars(t.Context(), "", "v1", inRow))
	s.expect(t, 0, nil, "delete", "-f", s.sample("route-rule-ratings-test-delay"))
}

func (s *site) testShifting(t *testing.T) {
	s.applyLive(t, s.sample("route-rule-all-v1"))
	seen(t, s.apply(t, s.sample("route-rule-reviews-50-v3")), func(ctx context.Context) error {
		count := map[string]int{}
		for range 16 {
			version, _, err := s.reviews(ctx, "")
			if err != nil {
				return err
			}
			count[version]++
		}
		if count["v2"] > 0 || count["v1"] == 0 || count["v3"] == 0 {
			return fmt.Errorf("16 requests went to %v", count)
		}
		return nil
	})
	count := map[string]int{}
	const requests = 400
	for range requests {
		version, _, err := s.reviews(t.Context(), "")
		check(t, err)
		count[version]++
	}
	// Five standard deviations of 400 fair coins: one run in two million is outside.
	if n := count["v3"]; n < requests/2-50 || n > requests/2+50 || count["v1"]+n != requests {
		t.Errorf("of %d requests half go to v1 and half to v3; got %v", requests, count)
	}
	seen(t, s.apply(t, s.sample("route-rule-reviews-v3")), func(ctx context.Context) error {
		return s.showsStars(ctx, "", "v3", inRow)
	})
}

func (s *site) testTimeouts(t *testing.T) {
	s.applyLive(t, s.sample("route-rule-all-v1"))
	s.applyLive(t, s.sample("route-rule-reviews-v2"))
	s.apply(t, s.sample("route-rule-ratings-delay-2s"))
	began := time.Now()
	for slow := false; !slow; {
		p := must(s.page(t.Context(), ""))(t)
		slow = p.Took > 1900*time.Millisecond
		switch {
		case p.Reviews != "v2" || p.Stars != "black":
			t.Fatalf("two seconds late, stars come all the same; got %s", p)
		case slow && p.Took > 3*time.Second:
			t.Errorf("two seconds late: got %s", p)
		case !slow && time.Since(began) > soon:
			t.Fatalf("the delay of two seconds is not to be seen: %s", p)
		}
	}
	applied := s.apply(t, s.sample("route-rule-reviews-timeout-1s"))
	began = time.Now()
	for {
		p := must(s.page(t.Context(), ""))(t)
		if p.Status == http.StatusOK && p.NoReviews && p.Took > 900*time.Millisecond && p.Took < 1700*time.Millisecond {
			break
		}
		if time.Since(began) > soon+p.Took {
			t.Fatalf("after %q the page comes after one second and has no reviews; got %s", applied.Args, p)
		}
	}
}
