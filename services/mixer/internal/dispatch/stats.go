package dispatch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

// stats counts what was done, for the metrics and for the status; the counts of an
// object live on while its name does.
type stats struct {
	dispatches metric.Int64Counter
	durations  metric.Float64Histogram
	failures   metric.Int64Counter
	calls      *telemetry.Sets[outcome]
	unheard    *telemetry.Sets[silence]
	rules      sync.Map // name to *counts
	handlers   sync.Map // object to *counts
}

type counts struct {
	calls, errors atomic.Uint64
	lastError     atomic.Pointer[error] // of a rule
}

// why is the last error, "" if there was none.
func (c *counts) why() string {
	if err := c.lastError.Load(); err != nil {
		return (*err).Error()
	}
	return ""
}

// outcome is by what calls are counted.
type outcome struct {
	template, handler, adapter string
	code                       codes.Code
	failed                     bool
}

func (o outcome) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("meshFunction", o.template), attribute.String("handler", o.handler),
		attribute.String("adapter", o.adapter), attribute.String("response_code", o.code.String()),
		attribute.Bool("error", o.failed),
	}
}

// silence is by what requests are counted about which a rule gave no answer.
type silence struct {
	rule   string
	absent bool
}

func (s silence) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("rule", s.rule), attribute.Bool("absent", s.absent)}
}

func newStats(m metric.Meter) (*stats, error) {
	s := stats{calls: telemetry.NewSets(outcome.attributes), unheard: telemetry.NewSets(silence.attributes)}
	var err error
	if s.dispatches, err = m.Int64Counter("mixer_adapter_dispatch_count",
		metric.WithDescription("calls of adapters")); err != nil {
		return nil, fmt.Errorf("metrics of dispatch: %w", err)
	}
	if s.durations, err = m.Float64Histogram("mixer_adapter_dispatch_duration",
		metric.WithDescription("seconds that calls of adapters took"),
		metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)); err != nil {
		return nil, fmt.Errorf("metrics of dispatch: %w", err)
	}
	if s.failures, err = m.Int64Counter("mixer_rule_unanswered_count",
		metric.WithDescription("requests about which a rule gave no answer")); err != nil {
		return nil, fmt.Errorf("metrics of dispatch: %w", err)
	}
	return &s, nil
}

func of(m *sync.Map, name string) *counts {
	if c, ok := m.Load(name); ok {
		return c.(*counts)
	}
	c, _ := m.LoadOrStore(name, &counts{})
	return c.(*counts)
}

func (s *stats) dispatched(ctx context.Context, c *call, a answer, took time.Duration) {
	count := of(&s.handlers, c.handler.Object)
	count.calls.Add(1)
	if a.err != nil {
		count.errors.Add(1)
	}
	set := s.calls.Of(outcome{c.template, c.handler.Name, c.handler.Info.Name, a.verdict.Code, a.err != nil})
	s.dispatches.Add(ctx, 1, set)
	s.durations.Record(ctx, took.Seconds(), set)
}

func (s *stats) matched(name string) { of(&s.rules, name).calls.Add(1) }

// unanswered counts by rule and by whether something was merely absent.
func (s *stats) unanswered(name string, err error) {
	count := of(&s.rules, name)
	count.errors.Add(1)
	count.lastError.Store(&err)
	_, absent := rule.AbsentAttribute(err)
	s.failures.Add(context.Background(), 1, s.unheard.Of(silence{name, absent}))
}
