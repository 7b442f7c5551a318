package server

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// stats counts what the authority does.
type stats struct {
	issued  metric.Int64Counter
	refused metric.Int64Counter
	signing metric.Float64Histogram
	no      atomic.Uint64 // refused, for GetStatus
}

func newStats(m metric.Meter, c *Custody) (*stats, error) {
	s := &stats{}
	var err error
	if s.issued, err = m.Int64Counter("citadel.certificates.issued", metric.WithDescription("certificates issued, by proof of identity")); err != nil {
		return nil, fmt.Errorf("metric: %w", err)
	}
	if s.refused, err = m.Int64Counter("citadel.certificates.refused", metric.WithDescription("certificates refused, by reason")); err != nil {
		return nil, fmt.Errorf("metric: %w", err)
	}
	if s.signing, err = m.Float64Histogram("citadel.signing.duration", metric.WithUnit("s"), metric.WithDescription("time for one signature"),
		metric.WithExplicitBucketBoundaries(0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2, 10)); err != nil {
		return nil, fmt.Errorf("metric: %w", err)
	}
	_, err = m.Float64ObservableGauge("citadel.authority.expiry", metric.WithUnit("s"),
		metric.WithDescription("end of the authority's certificate, in seconds since 1970"),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			if store, err := c.Current(); err == nil {
				o.Observe(float64(store.Authority().Window().NotAfter.Unix()))
			}
			return nil
		}))
	if err != nil {
		return nil, fmt.Errorf("metric: %w", err)
	}
	return s, nil
}

func (s *stats) yes(ctx context.Context, proof string) {
	s.issued.Add(ctx, 1, metric.WithAttributes(attribute.String("proof", proof)))
}

func (s *stats) refuse(ctx context.Context, reason string) {
	s.no.Add(1)
	s.refused.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", reason)))
}

func (s *stats) signed(ctx context.Context, began time.Time, ok bool) {
	s.signing.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(attribute.Bool("ok", ok)))
}
