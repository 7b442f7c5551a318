package prometheus

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/adaptertest"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func env(handler string) adapter.Env {
	strings := func(names ...string) map[string]configv1.ValueType {
		out := map[string]configv1.ValueType{}
		for _, n := range names {
			out[n] = configv1.ValueType_STRING
		}
		return out
	}
	return adapter.Env{Handler: handler, Namespace: "default", Instances: []template.Type{
		{Name: "count.metric.default", Template: "metric", Value: configv1.ValueType_INT64, Dimensions: strings("code", "source")},
		{Name: "took.metric.default", Template: "metric", Value: configv1.ValueType_DURATION, Dimensions: strings("source")},
	}}
}

const good = `{"metrics": [
	{"name": "request/count", "instanceName": "count", "kind": "COUNTER", "labelNames": ["source", "code"], "description": "requests"},
	{"name": "request.duration-x", "instance_name": "took.metric.default", "kind": "DISTRIBUTION", "label_names": ["source"],
	 "buckets": {"explicit_buckets": {"bounds": [0.1, 1]}}}
]}`

func count(code int64, n int64) template.Metric {
	return template.Metric{Name: "count.metric.default", Value: n, Dimensions: map[string]any{"source": "a\"b", "code": code}}
}

func took(d time.Duration) template.Metric {
	return template.Metric{Name: "took.metric.default", Value: d, Dimensions: map[string]any{"source": "a"}}
}

// shown is what the endpoint shows, without comments.
func shown(t *testing.T, e *Exporter) string {
	t.Helper()
	rec := httptest.NewRecorder()
	e.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var out strings.Builder
	for line := range strings.Lines(rec.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func metricsWith(second string) string {
	return strings.Replace(good, `{"explicit_buckets": {"bounds": [0.1, 1]}}`, second, 1)
}

func TestSuite(t *testing.T) {
	t.Parallel()
	one := func(fields string) string {
		return fmt.Sprintf(`{"metrics": [{"instanceName": "count", %s}, {"name": "d", "instanceName": "took", "kind": "GAUGE", "labelNames": ["source"]}]}`, fields)
	}
	adaptertest.Run(t, adaptertest.Case{
		Info: New("", discard()).Info(), Good: good, Env: env("h"),
		Bad: map[string]string{
			"no metric for an instance": `{"metrics": []}`,
			"no kind":                   one(`"name": "a", "labelNames": ["source", "code"]`),
			"name":                      one(`"name": "1a", "kind": "COUNTER", "labelNames": ["source", "code"]`),
			"label":                     one(`"name": "a", "kind": "COUNTER", "labelNames": ["source", "co-de"]`),
			"labels missing":            one(`"name": "a", "kind": "COUNTER", "labelNames": ["source"]`),
			"label twice":               one(`"name": "a", "kind": "COUNTER", "labelNames": ["source", "code", "code"]`),
			"name twice":                one(`"name": "d", "kind": "GAUGE", "labelNames": ["source", "code"]`),
			"bounds":                    metricsWith(`{"explicitBuckets": {"bounds": [1, 1]}}`),
			"no bounds":                 metricsWith(`{"explicitBuckets": {}}`),
			"linear":                    metricsWith(`{"linearBuckets": {"numFiniteBuckets": 3, "width": 0}}`),
			"too many":                  metricsWith(`{"linearBuckets": {"numFiniteBuckets": 3000, "width": 1}}`),
			"exponential":               metricsWith(`{"exponentialBuckets": {"numFiniteBuckets": 3, "growthFactor": 1, "scale": 1}}`),
		},
		Inputs: []any{count(200, 1), took(time.Second)},
	})
}

func TestShows(t *testing.T) {
	t.Parallel()
	e := New("", discard())
	h := adaptertest.Build(t, e.Info(), good, env("h"))
	for _, in := range []template.Metric{count(200, 1), count(200, 2), count(503, 1), took(250 * time.Millisecond), took(5 * time.Second)} {
		if _, err := adaptertest.Ask(t.Context(), h, in); err != nil {
			t.Error(err)
		}
	}
	want := `request_count{code="200",source="a\"b"} 3
request_count{code="503",source="a\"b"} 1
request_durationx_bucket{source="a",le="0.1"} 0
request_durationx_bucket{source="a",le="1"} 1
request_durationx_bucket{source="a",le="+Inf"} 2
request_durationx_sum{source="a"} 5.25
request_durationx_count{source="a"} 2
`
	if d := cmp.Diff(want, shown(t, e)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"linearBuckets": {"numFiniteBuckets": 2, "width": 5, "offset": 1}}`:             "[1 6 11]",
		`{"exponentialBuckets": {"numFiniteBuckets": 2, "growthFactor": 10, "scale": 1}}`: "[1 10 100]",
		`{}`: "[0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10]",
	} {
		p, ok := adaptertest.Params(t, New("", discard()).Info(), metricsWith(text)).(*configv1.PrometheusParams)
		if !ok {
			t.Fatal("params are of another type")
		}
		got, err := bounds(p.GetMetrics()[1].GetBuckets())
		if fmt.Sprint(got) != want || err != nil {
			t.Errorf("%s: got %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestBadSamples(t *testing.T) {
	t.Parallel()
	e := New("", discard())
	h := adaptertest.Build(t, e.Info(), good, env("h"))
	for name, in := range map[string]template.Metric{
		"negative":     count(200, -1),
		"text":         {Name: "count.metric.default", Value: "1", Dimensions: map[string]any{"source": "a", "code": int64(1)}},
		"no dimension": {Name: "count.metric.default", Value: int64(1), Dimensions: map[string]any{"source": "a", "other": "b"}},
		"instance":     {Name: "other.metric.default", Value: int64(1)},
	} {
		if _, err := adaptertest.Ask(t.Context(), h, in); err == nil {
			t.Errorf("%s: %+v is taken", name, in)
		}
	}
	if got := shown(t, e); got != "" {
		t.Errorf("bad samples show:\n%s", got)
	}
}

func TestALongLabelIsCut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		strings.Repeat("a", maxLabel):       strings.Repeat("a", maxLabel),
		strings.Repeat("a", maxLabel+1):     strings.Repeat("a", maxLabel-3) + "…",
		strings.Repeat("é", maxLabel):       strings.Repeat("é", (maxLabel-3)/2) + "…",
		strings.Repeat("\xff", 10*maxLabel): "\uFFFD",
	} {
		got, err := definition{labels: []string{"path"}}.values(map[string]any{"path": text})
		if err != nil || got[0] != want {
			t.Errorf("%.20q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestTooManySeries(t *testing.T) {
	t.Parallel()
	h := adaptertest.Build(t, New("", discard()).Info(), good, env("h"))
	for i := range maxSeries {
		if _, err := adaptertest.Ask(t.Context(), h, count(int64(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := adaptertest.Ask(t.Context(), h, count(maxSeries, 1)); err == nil {
		t.Error("one series more than allowed is taken")
	}
	if _, err := adaptertest.Ask(t.Context(), h, count(0, 1)); err != nil {
		t.Errorf("a series that is there already: %v", err)
	}
}

// build makes a handler that the test itself closes.
func build(t *testing.T, e *Exporter, text, handler string) (adapter.Handler, error) {
	t.Helper()
	return e.Info().Build(adaptertest.Params(t, e.Info(), text), env(handler))
}

// session opens handlers of one exporter and sends them samples.
type session struct {
	*testing.T
	e *Exporter
}

func (s session) open(text, name string) adapter.Handler {
	s.Helper()
	h, err := build(s.T, s.e, text, name)
	if err != nil {
		s.Fatal(err)
	}
	return h
}

func (s session) ask(h adapter.Handler) {
	s.Helper()
	if _, err := adaptertest.Ask(s.Context(), h, count(200, 1)); err != nil {
		s.Error(err)
	}
}

// shows expects the count of requests, 0 for none.
func (s session) shows(n int, when string) {
	s.Helper()
	got, want := shown(s.T, s.e), ""
	if n > 0 {
		want = fmt.Sprintf("request_count{code=\"200\",source=\"a\\\"b\"} %d\n", n)
	}
	if got != want {
		s.Errorf("%s:\n%swant:\n%s", when, got, want)
	}
}

var changed = strings.Replace(good, `"requests"`, `"all requests"`, 1)

func TestMetricsOutliveTheirHandler(t *testing.T) {
	t.Parallel()
	s := session{t, New("", discard())}
	first := s.open(good, "h")
	s.ask(first)
	second := s.open(good, "h")
	_ = first.Close()
	s.ask(second)
	s.shows(2, "after a change that keeps the definition")
	third := s.open(changed, "h")
	_ = second.Close()
	s.ask(third)
	s.shows(1, "after a change of the definition")
	_ = third.Close()
	s.shows(0, "after the last handler closed")
}

// TestHandlersThatShareAMetricChangeTogether: the new ones are there before the old ones
// go, and one of them has another name.
func TestHandlersThatShareAMetricChangeTogether(t *testing.T) {
	t.Parallel()
	s := session{t, New("", discard())}
	old := []adapter.Handler{s.open(good, "a"), s.open(good, "b")}
	s.ask(old[0])
	next := []adapter.Handler{s.open(changed, "a"), s.open(changed, "c")}
	for _, h := range old {
		_ = h.Close()
	}
	for _, h := range next {
		s.ask(h)
	}
	s.shows(2, "after the change of both")
}

// TestASampleThatNobodySeesIsAnError: two handlers that define a metric otherwise cannot
// both be right.
func TestASampleThatNobodySeesIsAnError(t *testing.T) {
	t.Parallel()
	s := session{t, New("", discard())}
	first, second := s.open(good, "first"), s.open(changed, "second")
	s.ask(second)
	const want = "metric request_count: it is defined otherwise by handler second"
	if _, err := adaptertest.Ask(t.Context(), first, count(200, 1)); err == nil || err.Error() != want {
		t.Errorf("a sample of the first: %v, want %s", err, want)
	}
	_ = second.Close()
	s.ask(first)
	s.shows(1, "after the second closed")
}

func TestServes(t *testing.T) {
	t.Parallel()
	addr := make(chan string, 1)
	e := New("127.0.0.1:0", slog.New(listening(addr)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	res, err := http.Get("http://" + <-addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("got %s", res.Status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := New("256.0.0.1:1", discard()).Run(t.Context()); err == nil {
		t.Error("an address that does not exist is served")
	}
}

// listening is a log that tells the address in its first line.
type listening chan string

func (l listening) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "address" {
			l <- a.Value.String()
		}
		return true
	})
	return nil
}

func (listening) Enabled(context.Context, slog.Level) bool { return true }
func (l listening) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l listening) WithGroup(string) slog.Handler          { return l }
