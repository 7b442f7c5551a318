package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// call is one adapter call, made ready by the request's goroutine.
type call struct {
	handler  *plan.Handler
	live     *live
	template string
	instance any

	// Once begun: the answer, or where it will come.
	answer answer
	later  <-chan answer
}

// answer is what came of a call.
type answer struct {
	verdict adapter.Verdict
	err     error
}

var errWrongHandler = errors.New("the handler does not take the template that its adapter names")

func (c *call) waits() bool { return !c.live.immediate }

// ask asks the handler. The verdict counts if the template's variety is Check.
func (c *call) ask(ctx context.Context) (v adapter.Verdict, err error) {
	switch in := c.instance.(type) {
	case template.CheckNothing:
		if h, ok := c.live.handler.(adapter.CheckNothing); ok {
			return h.CheckNothing(ctx, in)
		}
	case template.ListEntry:
		if h, ok := c.live.handler.(adapter.ListEntry); ok {
			return h.ListEntry(ctx, in)
		}
	case template.Metric:
		if h, ok := c.live.handler.(adapter.Metric); ok {
			return v, h.Metric(ctx, []template.Metric{in})
		}
	case template.LogEntry:
		if h, ok := c.live.handler.(adapter.LogEntry); ok {
			return v, h.LogEntry(ctx, []template.LogEntry{in})
		}
	case template.ReportNothing:
		if h, ok := c.live.handler.(adapter.ReportNothing); ok {
			return v, h.ReportNothing(ctx, []template.ReportNothing{in})
		}
	}
	return v, errWrongHandler
}

// begin starts a call, and also ends it if the handler answers at once. Any other gets a
// goroutine and a slot, and its answer comes before the deadline of ctx, or at it. The
// adapter may go on: its generation is held until it returns.
func (d *Dispatcher) begin(ctx context.Context, g *generation, c *call) {
	if !c.waits() {
		c.answer = d.perform(ctx, c)
		return
	}
	out := make(chan answer, 1) // one answer, never waited for
	c.later = out
	g.retain()
	go func() {
		defer g.release()
		out <- d.inSlot(ctx, c)
	}()
}

// inSlot makes a call when there is room for it: waiting for room belongs to the call's
// time, not to the request's goroutine.
func (d *Dispatcher) inSlot(ctx context.Context, c *call) answer {
	select {
	case d.slots <- struct{}{}:
	default:
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return answer{err: errors.New("too many adapter calls are under way")}
		}
	}
	defer func() { <-d.slots }()
	return d.perform(ctx, c)
}

// perform makes a call, in a span of its own if the request is traced.
func (d *Dispatcher) perform(ctx context.Context, c *call) answer {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return d.counted(ctx, c)
	}
	ctx, span := d.tel.Tracer.Start(ctx, c.template+":"+c.handler.Name+"("+c.handler.Info.Name+")",
		trace.WithAttributes(attribute.String("handler", c.handler.Name), attribute.String("adapter", c.handler.Info.Name)))
	defer span.End()
	a := d.counted(ctx, c)
	span.SetAttributes(attribute.String("response_code", a.verdict.Code.String()))
	if a.err != nil {
		span.SetStatus(codes.Error, a.err.Error())
	}
	return a
}

func (d *Dispatcher) counted(ctx context.Context, c *call) answer {
	begun := time.Now()
	var a answer
	a.err = guarded(func() error {
		var err error
		a.verdict, err = c.ask(ctx)
		return err
	})
	d.stats.dispatched(ctx, c, a, time.Since(begun))
	return a
}

// wait returns a call's answer, or an error when ctx ends first.
func (c *call) wait(ctx context.Context) answer {
	if c.later == nil {
		return c.answer
	}
	select {
	case a := <-c.later:
		return a
	case <-ctx.Done():
	}
	// Both may be ready: an answer that is there counts.
	select {
	case a := <-c.later:
		return a
	default:
		return answer{err: fmt.Errorf("no answer in time: %w", context.Cause(ctx))}
	}
}
