package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// denyRule denies v3 the ratings, with words on what to do without mixer; none of them
// if both are empty.
func denyRule(unavailable, timeout string) string {
	rule := `apiVersion: outrigger.dev/v1
kind: Handler
metadata: {name: deny-v3, namespace: default}
spec: {adapter: denier, params: {status: {code: 7, message: Not allowed}}}
---
apiVersion: outrigger.dev/v1
kind: Instance
metadata: {name: deny-v3, namespace: default}
spec: {template: checknothing}
---
apiVersion: outrigger.dev/v1
kind: Rule
metadata: {name: deny-v3, namespace: default}
spec:
  match: destination.labels["app"] == "ratings" && source.labels["version"] == "v3"
  actions: [{handler: deny-v3, instances: [deny-v3]}]
`
	if unavailable+timeout == "" {
		return rule
	}
	return rule + fmt.Sprintf("  onUnavailable: %s\n  timeout: %s\n", unavailable, timeout)
}

// way is how mixer can be away. Its proxies wait for an answer, or know at once that
// none will come.
type way struct {
	waits      bool
	away, back func(t *testing.T)
}

func (s *site) ways(r *relay) map[string]way {
	signal := func(sig syscall.Signal) func(t *testing.T) {
		return func(t *testing.T) { must(s.Signal("mixer", sig))(t) }
	}
	return map[string]way{
		"stopped": {
			away: func(t *testing.T) { check(t, s.StopProcess(t.Context(), "mixer")) },
			back: func(t *testing.T) { s.awaitAll(t, "mixer", s.StartProcess) },
		},
		"killed":         {away: s.keepKilled, back: func(t *testing.T) { check(t, s.supervise(t)) }},
		"hanging":        {waits: true, away: signal(syscall.SIGSTOP), back: signal(syscall.SIGCONT)},
		"silent network": {waits: true, away: func(*testing.T) { r.hush() }, back: r.restore},
		"slow":           {waits: true, away: func(*testing.T) { r.slow(time.Second) }, back: r.restore},
		"no network":     {away: func(*testing.T) { r.cut() }, back: r.restore},
	}
}

// keepKilled kills mixer while nobody can start it again: the supervisor does so within
// a tenth of a second.
func (s *site) keepKilled(t *testing.T) {
	t.Helper()
	supervisor := must(s.Snapshot())(t).Supervisor
	check(t, syscall.Kill(supervisor, syscall.SIGSTOP))
	t.Cleanup(func() { check(t, s.supervise(t)) })
	must(s.Kill9("mixer"))(t)
}

// supervise lets the supervisor go on.
func (s *site) supervise(t *testing.T) error {
	t.Helper()
	return syscall.Kill(must(s.Snapshot())(t).Supervisor, syscall.SIGCONT)
}

// normal is nil when mixer answers, and its rule acts.
func (s *site) normal(ctx context.Context, t *testing.T) error {
	t.Helper()
	return errors.Join(s.gets(ctx, t, "reviews-v2", http.StatusOK, "ratings"),
		s.gets(ctx, t, "reviews-v3", http.StatusForbidden, "Not allowed"))
}

// A request may take that much longer than a rule's timeout, or less: Envoy's clock
// stands still while it works.
const (
	late  = 500 * time.Millisecond
	early = 20 * time.Millisecond
)

func (s *site) testUnavailable(t *testing.T, r *relay) {
	for _, c := range []struct {
		unavailable, timeout string
		status               int
		wait                 time.Duration
	}{
		{"ALLOW", "300ms", http.StatusOK, 300 * time.Millisecond},
		{"DENY", "400ms", http.StatusServiceUnavailable, 400 * time.Millisecond},
		{"", "", http.StatusOK, 200 * time.Millisecond},
	} {
		s.applyLive(t, write(t, "unavailable.yaml", denyRule(c.unavailable, c.timeout)))
		for name, way := range s.ways(r) {
			t.Run(cmp.Or(c.unavailable, "default")+" "+name, func(t *testing.T) {
				normal := func(ctx context.Context) error { return s.normal(ctx, t) }
				eventually(t, 10*time.Second, normal)
				shortest := time.Duration(0)
				if way.waits {
					shortest = c.wait - early
				}
				way.away(t)
				for _, host := range []string{"reviews-v2", "reviews-v3"} {
					answer, err := s.from(t.Context(), t, host, nil)
					if err != nil || answer.Status != c.status || answer.Took < shortest || answer.Took > c.wait+late {
						t.Errorf("%s: want %d after %v to %v, got %d after %v: %v %s",
							host, c.status, shortest, c.wait+late, answer.Status, answer.Took, err, answer.Body)
					}
				}
				way.back(t)
				eventually(t, 15*time.Second, normal)
			})
		}
	}
}

// testInTime: mixer's answer counts if it comes within the timeout of the rule, though
// it comes after that of rules which name none.
func (s *site) testInTime(t *testing.T, r *relay) {
	t.Cleanup(func() { r.restore(t) })
	for _, unavailable := range []string{"ALLOW", "DENY"} {
		s.applyLive(t, write(t, "in-time.yaml", denyRule(unavailable, "2s")))
		eventually(t, 10*time.Second, func(ctx context.Context) error { return s.normal(ctx, t) })
		const delay = 300 * time.Millisecond
		r.slow(delay)
		for host, want := range map[string]struct {
			status int
			text   string
		}{"reviews-v2": {http.StatusOK, "ratings"}, "reviews-v3": {http.StatusForbidden, "Not allowed"}} {
			answer, err := s.from(t.Context(), t, host, nil)
			if err != nil || answer.Status != want.status || !strings.Contains(answer.Body, want.text) || answer.Took < delay {
				t.Errorf("%s, %s, mixer %v late: want %d with %q, got %d after %v: %v %s",
					unavailable, host, delay, want.status, want.text, answer.Status, answer.Took, err, answer.Body)
			}
		}
		r.restore(t)
	}
}
