package ingest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// metric is what a prometheus handler exports under one name.
type metric struct {
	ref  model.Ref
	info *configv1.PrometheusParams_MetricInfo
}

// exported is the name that Prometheus sees.
func exported(name string) string {
	return strings.NewReplacer("/", "_", ".", "_", " ", "_", "-", "").Replace(name)
}

// metricsOf lists what a handler exports, nil if it is for another adapter.
func metricsOf(h *configv1.Handler) []*configv1.PrometheusParams_MetricInfo {
	params := &configv1.PrometheusParams{}
	if h.GetAdapter() != "prometheus" || decode.Params(h.GetParams(), params) != nil {
		return nil
	}
	return params.GetMetrics()
}

// exporters finds who exports each name first: what is there comes before what comes in,
// and that in its order.
func (c *checker) exporters() map[string]metric {
	out := map[string]metric{}
	note := func(ref model.Ref) {
		for _, m := range metricsOf(c.next[ref].GetHandler()) {
			if _, taken := out[exported(m.GetName())]; !taken {
				out[exported(m.GetName())] = metric{ref, m}
			}
		}
	}
	for _, ref := range sortedRefs(c.next) {
		if _, written := c.incoming[ref]; !written {
			note(ref)
		}
	}
	for _, d := range c.in.Documents {
		note(model.RefOf(d.Object))
	}
	return out
}

// clashes refuses to export under a name what another handler defines otherwise: they
// share one page, on which a name means one thing, and mixer would not start the second.
func (c *checker) clashes(o *configv1.Object, say report) {
	self := model.RefOf(o)
	if _, written := c.incoming[self]; !written {
		return
	}
	for i, m := range metricsOf(o.GetHandler()) {
		name := exported(m.GetName())
		first := c.index.metrics[name]
		if first.ref == self {
			continue
		}
		if field, here, there := differ(m, first.info); field != "" {
			say(fmt.Sprintf("spec.params.metrics[%d].%s", i, field), "%s is defined otherwise by %s: %s there, %s here; take the same or another name",
				name, first.ref, there, here)
		}
	}
}

// differ names the first field in which two definitions of a metric differ, and what
// they say. It compares what mixer compares.
func differ(a, b *configv1.PrometheusParams_MetricInfo) (field, inA, inB string) {
	labels := func(m *configv1.PrometheusParams_MetricInfo) string {
		return "[" + strings.Join(m.GetLabelNames(), ", ") + "]"
	}
	help := func(m *configv1.PrometheusParams_MetricInfo) string { return cmp.Or(m.GetDescription(), m.GetName()) }
	switch {
	case a.GetKind() != b.GetKind():
		return "kind", a.GetKind().String(), b.GetKind().String()
	case !slices.Equal(a.GetLabelNames(), b.GetLabelNames()):
		return "labelNames", labels(a), labels(b)
	case !proto.Equal(a.GetBuckets(), b.GetBuckets()):
		return "buckets", bucketText(a.GetBuckets()), bucketText(b.GetBuckets())
	case help(a) != help(b):
		return "description", fmt.Sprintf("%q", help(a)), fmt.Sprintf("%q", help(b))
	}
	return "", "", ""
}

func bucketText(b *configv1.PrometheusParams_MetricInfo_Buckets) string {
	switch d := b.GetDefinition().(type) {
	case *configv1.PrometheusParams_MetricInfo_Buckets_LinearBuckets:
		return fmt.Sprintf("%d of width %v from %v", d.LinearBuckets.GetNumFiniteBuckets(), d.LinearBuckets.GetWidth(), d.LinearBuckets.GetOffset())
	case *configv1.PrometheusParams_MetricInfo_Buckets_ExponentialBuckets:
		e := d.ExponentialBuckets
		return fmt.Sprintf("%d that grow by %v from %v", e.GetNumFiniteBuckets(), e.GetGrowthFactor(), e.GetScale())
	case *configv1.PrometheusParams_MetricInfo_Buckets_ExplicitBuckets:
		return fmt.Sprint(d.ExplicitBuckets.GetBounds())
	}
	return "the default"
}
