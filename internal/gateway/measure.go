package gateway

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// measure has a meter read the gateway's state whenever it is asked.
func measure(m metric.Meter, p *proxy) error {
	var errs []error
	gauge := func(name, help string, read func() (int64, bool)) {
		_, err := m.Int64ObservableGauge(name, metric.WithDescription(help),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
				if v, ok := read(); ok {
					o.Observe(v)
				}
				return nil
			}))
		errs = append(errs, err)
	}
	gauge("outrigger.gateway.ready", "Whether the gateway is ready.", func() (int64, bool) {
		_, waiting := p.state()
		return flag(waiting == ""), true
	})
	gauge("outrigger.gateway.envoy.up", "Whether Envoy runs.", func() (int64, bool) {
		pid, _ := p.process.PID()
		return flag(pid != 0), true
	})
	gauge("outrigger.gateway.envoy.starts", "How often Envoy was started.", func() (int64, bool) {
		_, starts := p.process.PID()
		return int64(starts), true
	})
	gauge("outrigger.gateway.acknowledged.revision", "Revision of the config in force.", func() (int64, bool) {
		s, _ := p.state()
		return int64(s.Acknowledged()), true // a revision counts changes
	})
	gauge("outrigger.gateway.certificate.expiry", "End of the certificate, in seconds since 1970.", func() (int64, bool) {
		c := p.source.Current()
		if c == nil {
			return 0, false
		}
		return c.NotAfter.Unix(), true
	})
	gauge("outrigger.gateway.sds.refusals", "Secrets that Envoy refused.", func() (int64, bool) {
		_, refused := p.sds.Pushes()
		return refused, true
	})
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

func flag(v bool) int64 {
	if v {
		return 1
	}
	return 0
}
