package ingest

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// supports says which templates an adapter takes; noop takes all.
var supports = map[string][]string{
	"denier":     {"checknothing", "listentry"},
	"list":       {"listentry"},
	"noop":       {"checknothing", "listentry", "logentry", "metric", "reportnothing"},
	"prometheus": {"metric"},
	"stdio":      {"logentry", "metric"},
}

// Limits of adapters.
const (
	maxBuckets = 200
	maxEntries = 10_000
	maxMessage = 1024
	lastCode   = 16 // of gRPC
)

var metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

// handler checks the params of one Handler by themselves.
func handler(h *configv1.Handler, say report) {
	params := decode.AdapterParams(h.GetAdapter())
	if params == nil {
		say("spec.adapter", "unknown adapter %q; want one of %s", h.GetAdapter(), strings.Join(decode.Adapters(), ", "))
		return
	}
	if err := decode.Params(h.GetParams(), params); err != nil {
		say("spec.params", "%v", err)
		return
	}
	switch p := params.(type) {
	case *configv1.DenierParams:
		denier(p, say)
	case *configv1.ListParams:
		list(p, say)
	case *configv1.PrometheusParams:
		prometheus(p, say)
	}
}

func denier(p *configv1.DenierParams, say report) {
	if s := p.GetStatus(); s != nil {
		if s.GetCode() < 1 || s.GetCode() > lastCode {
			say("spec.params.status.code", "%d: want 1 to %d, the codes of gRPC that refuse", s.GetCode(), lastCode)
		}
		if len(s.GetMessage()) > maxMessage {
			say("spec.params.status.message", "%d bytes; at most %d are sent", len(s.GetMessage()), maxMessage)
		}
	}
	caching(p.GetValidDuration(), p.GetValidUseCount(), "validDuration", "validUseCount", say)
}

func caching(d *durationpb.Duration, uses int32, duration, count string, say report) {
	span(d, 0, longest, "spec.params."+duration, say)
	if uses < 0 {
		say("spec.params."+count, "%d: want 0 or more", uses)
	}
}

func list(p *configv1.ListParams, say report) {
	if raw := p.GetProviderUrl(); raw != "" {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			say("spec.params.providerUrl", "%q: want an http or https URL", raw)
		}
	}
	span(p.GetRefreshInterval(), time.Second, longest, "spec.params.refreshInterval", say)
	refresh := time.Minute
	if p.GetRefreshInterval() != nil {
		refresh = p.GetRefreshInterval().AsDuration()
	}
	if ttl := p.GetTtl(); ttl != nil && ttl.AsDuration() < refresh {
		say("spec.params.ttl", "%v: shorter than the refresh interval of %v", ttl.AsDuration(), refresh)
	}
	caching(p.GetCachingInterval(), p.GetCachingUseCount(), "cachingInterval", "cachingUseCount", say)
	if n := len(p.GetOverrides()); n > maxEntries {
		say("spec.params.overrides", "%d entries; at most %d are taken", n, maxEntries)
	}
	for i, e := range p.GetOverrides() {
		listEntry(p.GetEntryType(), e, fmt.Sprintf("spec.params.overrides[%d]", i), say)
	}
}

func listEntry(t configv1.ListParams_EntryType, entry, field string, say report) {
	switch t {
	case configv1.ListParams_IP_ADDRESSES:
		_, noAddress := netip.ParseAddr(entry)
		_, noRange := netip.ParsePrefix(entry)
		if noAddress != nil && noRange != nil {
			say(field, "%q: want an address or a range such as 10.0.0.0/8", entry)
		}
	case configv1.ListParams_REGEX:
		if _, err := regexp.Compile(entry); err != nil || len(entry) > maxMatch {
			say(field, "no regular expression of RE2 of at most %d bytes: %v", maxMatch, err)
		}
	}
}

func prometheus(p *configv1.PrometheusParams, say report) {
	if len(p.GetMetrics()) == 0 {
		say("spec.params.metrics", "missing: a handler exports at least one metric")
	}
	seen := map[string]int{}
	for i, m := range p.GetMetrics() {
		field := fmt.Sprintf("spec.params.metrics[%d]", i)
		name := exported(m.GetName())
		if !metricName.MatchString(name) {
			say(field+".name", "%q is no name of a metric", m.GetName())
		}
		if first, twice := seen[name]; twice {
			say(field+".name", "exported as %s, like spec.params.metrics[%d]", name, first)
		}
		seen[name] = i
		if m.GetInstanceName() == "" {
			say(field+".instanceName", "missing: the Instance whose samples are exported")
		}
		if m.GetKind() == configv1.PrometheusParams_MetricInfo_UNSPECIFIED {
			say(field+".kind", "missing; want GAUGE, COUNTER or DISTRIBUTION")
		}
		buckets(m, field, say)
		labelNames(m.GetLabelNames(), field+".labelNames", say)
	}
}

func labelNames(names []string, field string, say report) {
	for i, n := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		if !metricName.MatchString(n) || strings.ContainsRune(n, ':') || strings.HasPrefix(n, "__") {
			say(at, "%q is no name of a label", n)
		}
		if slices.Index(names, n) < i {
			say(at, "%q is there twice", n)
		}
	}
}

// buckets checks the buckets of a distribution.
func buckets(m *configv1.PrometheusParams_MetricInfo, field string, say report) {
	if m.GetBuckets() == nil {
		return
	}
	field += ".buckets"
	if m.GetKind() != configv1.PrometheusParams_MetricInfo_DISTRIBUTION {
		say(field, "only a DISTRIBUTION has buckets")
	}
	n := 0
	switch b := m.GetBuckets().GetDefinition().(type) {
	case *configv1.PrometheusParams_MetricInfo_Buckets_LinearBuckets:
		n = int(b.LinearBuckets.GetNumFiniteBuckets())
		if b.LinearBuckets.GetWidth() <= 0 {
			say(field+".linearBuckets.width", "want more than 0")
		}
	case *configv1.PrometheusParams_MetricInfo_Buckets_ExponentialBuckets:
		n = int(b.ExponentialBuckets.GetNumFiniteBuckets())
		if b.ExponentialBuckets.GetGrowthFactor() <= 1 || b.ExponentialBuckets.GetScale() <= 0 {
			say(field+".exponentialBuckets", "want a growthFactor of more than 1 and a scale of more than 0")
		}
	case *configv1.PrometheusParams_MetricInfo_Buckets_ExplicitBuckets:
		bounds := b.ExplicitBuckets.GetBounds()
		n = len(bounds)
		if !slices.IsSorted(bounds) || len(slices.Compact(slices.Clone(bounds))) != n {
			say(field+".explicitBuckets.bounds", "want ascending numbers")
		}
	}
	if n < 1 || n > maxBuckets {
		say(field, "%d buckets: want 1 to %d", n, maxBuckets)
	}
}

// exports compares what a prometheus handler expects with the instances that it names.
func (c *checker) exports(o *configv1.Object, say report) {
	for i, m := range metricsOf(o.GetHandler()) {
		field := fmt.Sprintf("spec.params.metrics[%d]", i)
		ref := named("Instance", m.GetInstanceName(), o.GetMetadata().GetNamespace())
		instance := c.next[ref].GetInstance()
		sample := &configv1.MetricParams{}
		switch {
		case instance == nil:
			say(field+".instanceName", "%s does not exist", ref)
			continue
		case instance.GetTemplate() != "metric" || decode.Params(instance.GetParams(), sample) != nil:
			say(field+".instanceName", "%s is no metric", ref)
			continue
		}
		want := slices.Sorted(slices.Values(m.GetLabelNames()))
		if has := slices.Sorted(maps.Keys(sample.GetDimensions())); !slices.Equal(want, has) {
			say(field+".labelNames", "%s has the dimensions [%s]; want the same names, got [%s]",
				ref, strings.Join(has, ", "), strings.Join(want, ", "))
		}
	}
}
