package stdio

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/adaptertest"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

func entry(severity string) template.LogEntry {
	return template.LogEntry{
		Name: "newlog.logentry.istio-system", Severity: severity,
		Timestamp: time.Date(2017, 11, 6, 10, 0, 0, 123_456_789, time.FixedZone("", 3600)),
		Variables: map[string]any{
			"latency": 6848 * time.Microsecond, "destination": "ratings <x>", "responseCode": int64(200),
			"ip": netip.MustParseAddr("10.0.0.1"), "at": time.Unix(0, 0), "labels": map[string]string{"a": "b"},
			"ratio": math.Inf(1), "ok": true,
		},
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, adaptertest.Case{
		Info: New(io.Discard, io.Discard).Info(), Good: `{"outputAsJson": true}`,
		Bad: map[string]string{
			"stream": `{"logStream": 7}`, "level": `{"severityLevels": {"a": 9}}`, "metric level": `{"metric_level": 5}`,
		},
		Inputs: []any{entry("x"), template.Metric{Name: "m", Value: int64(1)}},
	})
}

func TestLines(t *testing.T) {
	t.Parallel()
	const rest = `"ts":"2017-11-06T09:00:00.123Z","instance":"newlog.logentry.istio-system",` +
		`"at":"1970-01-01T00:00:00.000Z","destination":"ratings <x>","ip":"10.0.0.1","labels":{"a":"b"},` +
		`"latency":"6.848ms","ok":true,"ratio":"+Inf","responseCode":200}` + "\n"
	for _, c := range []struct{ params, severity, out, err string }{
		{`{"outputAsJson": true, "severityLevels": {"warning": "WARNING"}}`, "warning", `{"level":"warn",` + rest, ""},
		{`{"output_as_json": true, "severity_levels": {"bad": 2}}`, "bad", `{"level":"error",` + rest, ""},
		{`{"outputAsJson": true}`, "Default", `{"level":"info",` + rest, ""},
		{`{"outputAsJson": true, "logStream": "STDERR"}`, "", "", `{"level":"info",` + rest},
		{`{}`, "", "2017-11-06T09:00:00.123Z\tinfo\tnewlog.logentry.istio-system\tat=\"1970-01-01T00:00:00.000Z\"\tdestination=\"ratings <x>\"\tip=\"10.0.0.1\"\tlabels={\"a\":\"b\"}\tlatency=\"6.848ms\"\tok=true\tratio=\"+Inf\"\tresponseCode=200\n", ""},
	} {
		var out, errs bytes.Buffer
		h := adaptertest.Build(t, New(&out, &errs).Info(), c.params, adapter.Env{})
		if _, err := adaptertest.Ask(t.Context(), h, entry(c.severity)); err != nil {
			t.Errorf("%s: %v", c.params, err)
		}
		if d := cmp.Diff([]string{c.out, c.err}, []string{out.String(), errs.String()}); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.params, d)
		}
	}
}

func TestMetricLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	h := adaptertest.Build(t, New(&out, io.Discard).Info(), `{"outputAsJson": true, "metricLevel": "WARNING"}`, adapter.Env{})
	in := template.Metric{Name: "m.metric.default", Value: int64(2), Dimensions: map[string]any{"source": "a"}}
	if _, err := adaptertest.Ask(t.Context(), h, in); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	delete(got, "ts")
	if d := cmp.Diff(map[string]any{"level": "warn", "instance": "m.metric.default", "value": 2.0, "source": "a"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestWriteFails(t *testing.T) {
	t.Parallel()
	h := adaptertest.Build(t, New(broken{}, broken{}).Info(), `{}`, adapter.Env{})
	if _, err := adaptertest.Ask(t.Context(), h, entry("")); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("got %v, want the writer's error", err)
	}
}
