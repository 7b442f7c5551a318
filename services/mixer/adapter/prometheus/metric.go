package prometheus

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

type kind = configv1.PrometheusParams_MetricInfo_Kind

// definition is a metric as exported: equal definitions are the same metric.
type definition struct {
	name, help string
	kind       kind
	buckets    []float64
	labels     []string
}

// exported makes a name Prometheus takes: '/', '.' and ' ' become '_', '-' goes.
func exported(name string) string {
	return strings.NewReplacer("/", "_", ".", "_", " ", "_", "-", "").Replace(name)
}

func define(info *configv1.PrometheusParams_MetricInfo) (definition, error) {
	d := definition{
		name: exported(info.GetName()), help: info.GetDescription(), kind: info.GetKind(), labels: info.GetLabelNames(),
	}
	if d.help == "" {
		d.help = info.GetName()
	}
	if !model.LegacyValidation.IsValidMetricName(d.name) {
		return d, fmt.Errorf("name: %q is not a metric name", info.GetName())
	}
	for _, l := range d.labels {
		if !model.LegacyValidation.IsValidLabelName(l) || strings.HasPrefix(l, "__") || l == "le" {
			return d, fmt.Errorf("label_names: %q is not a label name", l)
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(d.labels)))) != len(d.labels) {
		return d, errors.New("label_names: one name stands twice")
	}
	switch d.kind {
	case configv1.PrometheusParams_MetricInfo_COUNTER, configv1.PrometheusParams_MetricInfo_GAUGE:
		return d, nil
	case configv1.PrometheusParams_MetricInfo_DISTRIBUTION:
		var err error
		d.buckets, err = bounds(info.GetBuckets())
		return d, err
	}
	return d, errors.New("kind: want GAUGE, COUNTER or DISTRIBUTION")
}

// maxBuckets bounds what one series costs.
const maxBuckets = 200

func bounds(b *configv1.PrometheusParams_MetricInfo_Buckets) ([]float64, error) {
	var out []float64
	switch {
	case b.GetLinearBuckets() != nil:
		l := b.GetLinearBuckets()
		if l.GetNumFiniteBuckets() < 1 || l.GetNumFiniteBuckets() > maxBuckets || l.GetWidth() <= 0 {
			return nil, fmt.Errorf("buckets: want 1 to %d buckets and a width over 0", maxBuckets)
		}
		out = prometheus.LinearBuckets(l.GetOffset(), l.GetWidth(), int(l.GetNumFiniteBuckets())+1)
	case b.GetExponentialBuckets() != nil:
		e := b.GetExponentialBuckets()
		if e.GetNumFiniteBuckets() < 1 || e.GetNumFiniteBuckets() > maxBuckets || e.GetScale() <= 0 || e.GetGrowthFactor() <= 1 {
			return nil, fmt.Errorf("buckets: want 1 to %d buckets, a scale over 0 and a growth_factor over 1", maxBuckets)
		}
		out = prometheus.ExponentialBuckets(e.GetScale(), e.GetGrowthFactor(), int(e.GetNumFiniteBuckets())+1)
	case b.GetExplicitBuckets() != nil:
		out = b.GetExplicitBuckets().GetBounds()
		if len(out) == 0 || len(out) > maxBuckets {
			return nil, fmt.Errorf("buckets: want 1 to %d bounds", maxBuckets)
		}
	default:
		return prometheus.DefBuckets, nil
	}
	for i := 1; i < len(out); i++ {
		if !(out[i-1] < out[i]) {
			return nil, errors.New("buckets: the bounds do not ascend")
		}
	}
	return out, nil
}

// fits checks the instance that the metric is made of.
func (d definition) fits(t template.Type) error {
	switch t.Value {
	case configv1.ValueType_INT64, configv1.ValueType_DOUBLE, configv1.ValueType_DURATION:
	default:
		return fmt.Errorf("instance %s: the value is of type %v, want a number or a duration", t.Name, t.Value)
	}
	got := slices.Sorted(maps.Keys(t.Dimensions))
	if want := slices.Sorted(slices.Values(d.labels)); !slices.Equal(got, want) {
		return fmt.Errorf("instance %s has the dimensions %v, the metric the labels %v", t.Name, got, want)
	}
	return nil
}

// number reads a value; durations count in seconds.
func number(v any) (float64, error) {
	switch v := v.(type) {
	case int64:
		return float64(v), nil
	case float64:
		return v, nil
	case time.Duration:
		return v.Seconds(), nil
	}
	return 0, fmt.Errorf("the value is a %T", v)
}

func (d definition) values(dimensions map[string]any) ([]string, error) {
	if len(dimensions) != len(d.labels) {
		return nil, fmt.Errorf("there are %d dimensions, want %v", len(dimensions), d.labels)
	}
	out := make([]string, len(d.labels))
	for i, l := range d.labels {
		v, ok := dimensions[l]
		if !ok {
			return nil, fmt.Errorf("dimension %s is missing", l)
		}
		out[i] = short(strings.ToValidUTF8(label(v), "\uFFFD"))
	}
	return out, nil
}

// maxLabel bounds the value of a label, in bytes: who asks for long paths must not fill the
// memory.
const maxLabel = 256

// short cuts a text that is too long, between characters, and says so by an ellipsis.
func short(text string) string {
	if len(text) <= maxLabel {
		return text
	}
	end := maxLabel - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

func label(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case netip.Addr:
		return v.String()
	}
	return fmt.Sprint(v)
}
