package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// TestE2E06Policy: mixer's rules deny, record and log, tell versions apart by the
// registry, cost nothing where they do not apply, and say what happens without mixer.
func TestE2E06Policy(t *testing.T) {
	running.only(t, "policy")
	s := running.get(t, "policy", func(f *mesh.FleetFile) {
		f.Sidecar(func(sidecar map[string]any) {
			args, _ := sidecar["args"].([]any)
			sidecar["args"] = append(append([]any{}, args...), "--mixer="+relayAddress)
		})
	})
	r := startRelay(t, s)
	for _, part := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"deny by label", s.testDeny}, {"whitelist", s.testWhitelist}, {"deny by header", s.testDenyHeader},
		{"metric", s.testMetric}, {"gateway", s.testGateway}, {"log", s.testLogEntry}, {"no rule no question", s.testNoCost}, {"its own API", s.testMixerAPI},
		{"mixer late", func(t *testing.T) { s.testInTime(t, r) }},
		{"mixer away", func(t *testing.T) { s.testUnavailable(t, r) }},
	} {
		t.Run(part.name, func(t *testing.T) {
			s.reset(t)
			part.test(t)
		})
	}
}

// from calls ratings as a program on a host does, through the host's own sidecar.
func (s *site) from(ctx context.Context, t *testing.T, host string, header http.Header) (mesh.Answer, error) {
	t.Helper()
	service := s.registry(t)["Service/default/ratings"]
	if service.Service == nil {
		return mesh.Answer{}, fmt.Errorf("the registry has no ratings")
	}
	door, err := s.Door(host)
	if err != nil {
		return mesh.Answer{}, err
	}
	url := "http://" + net.JoinHostPort(service.Service.Address, fmt.Sprint(appPort)) + "/ratings/0"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return mesh.Answer{}, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Host = "ratings"
	return mesh.Do(door.Client(10*time.Second), request)
}

// gets is nil when a host gets a status from ratings, with a text in the answer.
func (s *site) gets(ctx context.Context, t *testing.T, host string, status int, text string) error {
	t.Helper()
	answer, err := s.from(ctx, t, host, nil)
	if err != nil {
		return err
	}
	if answer.Status != status || !strings.Contains(answer.Body, text) {
		return fmt.Errorf("%s asked ratings: want %d with %q, got %d: %s", host, status, text, answer.Status, answer.Body)
	}
	return nil
}

// acts is how long a rule may take to act: it must come to mixer as well as to proxies.
const acts = 3 * time.Second

func (s *site) testDeny(t *testing.T) {
	s.applyLive(t, s.samples("route-rule-all-v1", "route-rule-reviews-test-v2")...)
	s.applyLive(t, s.sample("route-rule-reviews-v3"))
	for _, file := range []string{s.sample("mixer-rule-deny-label"), s.sample("istio/mixer-rule-deny-label")} {
		s.applyLive(t, file)
		eventually(t, acts, func(ctx context.Context) error {
			return errors.Join(s.gets(ctx, t, "reviews-v3", http.StatusForbidden, "Not allowed"), s.gets(ctx, t, "reviews-v2", http.StatusOK, "ratings"))
		})
		eventually(t, acts, func(ctx context.Context) error {
			return s.shows(ctx, "", inRow, func(p page) bool { return p.Reviews == "v3" && p.NoRatings && p.Stars == "" }, "v3 without stars")
		})
		check(t, s.showsStars(t.Context(), "jason", "v2", inRow))
		// Labels never come from a header.
		lies := http.Header{}
		for _, name := range []string{"X-Istio-Attributes", "X-Envoy-Peer-Metadata", "X-Outrigger-Labels", "Source-Labels", "Version"} {
			lies.Set(name, "version=v2,app=reviews")
		}
		answer := must(s.from(t.Context(), t, "reviews-v3", lies))(t)
		if answer.Status != http.StatusForbidden {
			t.Errorf("v3 that says it is v2 gets %d: %s", answer.Status, answer.Body)
		}
		s.expect(t, 0, nil, "delete", "-f", file)
		eventually(t, acts, func(ctx context.Context) error { return s.gets(ctx, t, "reviews-v3", http.StatusOK, "ratings") })
	}
}

func (s *site) testWhitelist(t *testing.T) {
	for _, file := range []string{s.sample("mixer-rule-ratings-whitelist"), s.sample("istio/mixer-rule-ratings-whitelist")} {
		s.applyLive(t, file)
		eventually(t, acts, func(ctx context.Context) error {
			return errors.Join(s.gets(ctx, t, "reviews-v3", http.StatusNotFound, "v3"), s.gets(ctx, t, "reviews-v2", http.StatusOK, "ratings"))
		})
		s.expect(t, 0, nil, "delete", "-f", file)
	}
}

func (s *site) testDenyHeader(t *testing.T) {
	for _, file := range []string{s.sample("mixer-rule-ratings-denial"), s.sample("istio/mixer-rule-ratings-denial")} {
		s.applyLive(t, file)
		for user, want := range map[string]int{"": http.StatusForbidden, "somebody": http.StatusOK} {
			eventually(t, acts, func(ctx context.Context) error {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/productpage", nil)
				if err != nil {
					return err
				}
				if user != "" {
					request.Header.Set("x-user", user)
				}
				answer, err := mesh.Do(browser, request)
				if err == nil && answer.Status != want {
					err = fmt.Errorf("x-user %q: status %d, want %d: %s", user, answer.Status, want, brief(answer.Body))
				}
				return err
			})
		}
		s.expect(t, 0, nil, "delete", "-f", file)
	}
	eventually(t, acts, func(ctx context.Context) error { return first(s.page(ctx, "")) })
}

// counted reads a metric of mixer's Prometheus endpoint: the sum of the samples that
// have all of the labels.
func (s *site) counted(ctx context.Context, metric string, labels ...string) (float64, error) {
	text, err := s.Prometheus(ctx)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.HasPrefix(name, metric+"{") {
			continue
		}
		all := true
		for _, label := range labels {
			all = all && strings.Contains(name, label)
		}
		if !all {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", line, err)
		}
		sum += n
	}
	return sum, nil
}

func (s *site) testMetric(t *testing.T) {
	s.applyLive(t, s.samples("mixer-rule-request-count", "mixer-rule-deny-label")...)
	labels := func(version string, code int) []string {
		return []string{
			`source_service="reviews.default.svc.cluster.local"`, `source_version="` + version + `"`,
			`destination_service="ratings.default.svc.cluster.local"`, `destination_version="v1"`, fmt.Sprintf(`response_code="%d"`, code),
		}
	}
	eventually(t, acts, func(ctx context.Context) error {
		return s.gets(ctx, t, "reviews-v3", http.StatusForbidden, "Not allowed")
	})
	read := func(ctx context.Context) (passed, denied float64, err error) {
		passed, err1 := s.counted(ctx, "request_count", labels("v2", 200)...)
		denied, err2 := s.counted(ctx, "request_count", labels("v3", 403)...)
		return passed, denied, errors.Join(err1, err2)
	}
	// What was asked until now is reported in batches; wait until it has come.
	sum, since := -1.0, time.Now()
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		passed, denied, err := read(ctx)
		if err == nil && sum != passed+denied {
			sum, since = passed+denied, time.Now()
		}
		if err == nil && time.Since(since) < time.Second {
			err = fmt.Errorf("the count has just become %v", sum)
		}
		return err
	})
	beforePassed, beforeDenied, err := read(t.Context())
	check(t, err)
	const calls = 7
	for range calls {
		check(t, s.gets(t.Context(), t, "reviews-v2", http.StatusOK, "ratings"))
		check(t, s.gets(t.Context(), t, "reviews-v3", http.StatusForbidden, "Not allowed"))
	}
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		passed, denied, err := read(ctx)
		if err == nil && (passed-beforePassed != calls || denied-beforeDenied != calls) {
			err = fmt.Errorf("%d calls of each version: counted %v with 200 and %v with 403", calls, passed-beforePassed, denied-beforeDenied)
		}
		return err
	})
	page := must(s.page(t.Context(), ""))(t)
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		n, err := s.counted(ctx, "request_count", `destination_service="productpage.default.svc.cluster.local"`, `response_code="200"`)
		if err == nil && n < 1 {
			err = fmt.Errorf("the page (%s) is not counted", page)
		}
		return err
	})
}

// logged finds a JSON object in a line of mixer's log.
var logged = regexp.MustCompile(`\{.*\}`)

func (s *site) testLogEntry(t *testing.T) {
	s.applyLive(t, s.sample("mixer-rule-additional-telemetry"))
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		if err := s.gets(ctx, t, "reviews-v2", http.StatusOK, "ratings"); err != nil {
			return err
		}
		if n, err := s.counted(ctx, "double_request_count", `message="twice the fun!"`); err != nil || n < 2 {
			return fmt.Errorf("double_request_count is %v (%v)", n, err)
		}
		log, err := s.Log("mixer")
		if err != nil {
			return err
		}
		for line := range strings.Lines(log) {
			var entry map[string]any
			if json.Unmarshal([]byte(logged.FindString(line)), &entry) == nil && isEntry(entry) {
				return nil
			}
		}
		return errors.New("no line of the log entry in mixer's output")
	})
}

// isEntry says whether a line is that of the sample's log entry.
func isEntry(entry map[string]any) bool {
	text := fmt.Sprint(entry)
	return strings.Contains(fmt.Sprint(entry["instance"]), "new-log") && strings.HasPrefix(strings.ToLower(fmt.Sprint(entry["level"])), "warn") &&
		strings.Contains(text, "ratings.default.svc.cluster.local") && strings.Contains(text, "reviews.default.svc.cluster.local") &&
		fmt.Sprint(entry["responseCode"]) == "200"
}

// asked is how many checks and reports mixer has had.
func (s *site) asked(ctx context.Context) (checks, reports uint64, err error) {
	var st struct {
		Checks  string `json:"checks"`
		Reports string `json:"reports"`
	}
	if err := s.Read(ctx, "mixer", "/v1/status", &st); err != nil {
		return 0, 0, err
	}
	number := func(text string) uint64 {
		n, _ := strconv.ParseUint(text, 10, 64) // absent is 0
		return n
	}
	return number(st.Checks), number(st.Reports), nil
}

// still is what mixer has been asked when it has not been asked for a second: reports
// come in batches.
func (s *site) still(t *testing.T) (checks, reports uint64) {
	t.Helper()
	since := time.Now()
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		c, r, err := s.asked(ctx)
		if err == nil && (c != checks || r != reports) {
			checks, reports, since = c, r, time.Now()
		}
		if err == nil && time.Since(since) < time.Second {
			err = fmt.Errorf("mixer has just had %d checks and %d reports", c, r)
		}
		return err
	})
	return checks, reports
}

// countRatings records what is asked of ratings.
const countRatings = `apiVersion: outrigger.dev/v1
kind: Instance
metadata: {name: count-ratings, namespace: default}
spec: {template: metric, params: {value: "1", dimensions: {code: response.code}}}
---
apiVersion: outrigger.dev/v1
kind: Handler
metadata: {name: count-ratings, namespace: default}
spec: {adapter: prometheus, params: {metrics: [{name: ratings_count, instanceName: count-ratings, kind: COUNTER, labelNames: [code]}]}}
---
apiVersion: outrigger.dev/v1
kind: Rule
metadata: {name: count-ratings, namespace: default}
spec:
  match: destination.labels["app"] == "ratings"
  actions: [{handler: count-ratings, instances: [count-ratings]}]
`

func (s *site) testNoCost(t *testing.T) {
	s.applyLive(t, s.sample("mixer-rule-deny-label"), s.sample("route-rule-all-v1"), write(t, "count.yaml", countRatings))
	eventually(t, acts, func(ctx context.Context) error {
		if err := s.gets(ctx, t, "reviews-v3", http.StatusForbidden, "Not allowed"); err != nil {
			return err
		}
		n, err := s.counted(ctx, "ratings_count", `code="403"`)
		if err == nil && n == 0 {
			err = errors.New("nothing is recorded yet")
		}
		return err
	})
	checks, reports := s.still(t)
	// reviews v1 asks no ratings: nobody on the way is concerned by the rules.
	for range 20 {
		check(t, s.showsStars(t.Context(), "", "v1", 1))
	}
	s.costs(t, "20 pages that no rule concerns", checks, reports)
	check(t, s.gets(t.Context(), t, "reviews-v2", http.StatusOK, "ratings"))
	s.costs(t, "one call that a rule of each sort concerns", checks+1, reports+1)
}

// costs expects that mixer has had as many checks and reports, and gets no more.
func (s *site) costs(t *testing.T, what string, checks, reports uint64) {
	t.Helper()
	if c, r := s.still(t); c != checks || r != reports {
		t.Errorf("after %s mixer has had %d checks and %d reports, want %d and %d", what, c, r, checks, reports)
	}
}
