package xds

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/stream"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// stats counts what happens on the streams. A nil stats counts nothing.
type stats struct {
	proxies            metric.Int64UpDownCounter
	resources, removed metric.Int64Counter
	nacks, refusals    metric.Int64Counter
}

func newStats(tel *telemetry.Telemetry) *stats {
	m, s := tel.Meter, &stats{}
	var err error
	counter := func(name, about string) metric.Int64Counter {
		var c metric.Int64Counter
		if c, err = m.Int64Counter(name, metric.WithDescription(about)); err != nil {
			tel.Log.Error("metric", "name", name, "error", err)
		}
		return c
	}
	if s.proxies, err = m.Int64UpDownCounter("outrigger_pilot_proxies", metric.WithDescription("connected proxies")); err != nil {
		tel.Log.Error("metric", "name", "outrigger_pilot_proxies", "error", err)
	}
	s.resources = counter("outrigger_pilot_pushed_resources", "resources sent, by type")
	s.removed = counter("outrigger_pilot_removed_resources", "removals sent, by type")
	s.nacks = counter("outrigger_pilot_nacks", "responses that a proxy refused, by type")
	s.refusals = counter("outrigger_pilot_refused_proxies", "streams refused for who asked, or for how much")
	return s
}

func byType(t translate.Type) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("type", t.URL()))
}

func (s *stats) connected(ctx context.Context, n int64) {
	if s != nil {
		s.proxies.Add(ctx, n)
	}
}

func (s *stats) refused(ctx context.Context) {
	if s != nil {
		s.refusals.Add(ctx, 1)
	}
}

func (s *stats) nack(ctx context.Context, t translate.Type) {
	if s != nil {
		s.nacks.Add(ctx, 1, byType(t))
	}
}

func (s *stats) pushed(ctx context.Context, r stream.Response) {
	if s != nil {
		s.resources.Add(ctx, int64(len(r.Upserts)), byType(r.Type))
		s.removed.Add(ctx, int64(len(r.Removed)), byType(r.Type))
	}
}
