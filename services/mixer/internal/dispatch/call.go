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
	// ask runs in a goroutine of its own and may outlive the request.
	ask func(ctx context.Context) (adapter.Verdict, error)
}

// answer is what came of a call.
type answer struct {
	verdict adapter.Verdict
	err     error
}

var errWrongHandler = errors.New("the handler does not take the template that its adapter names")

// checkCall makes the call for a Check instance.
func checkCall(h adapter.Handler, instance any) func(context.Context) (adapter.Verdict, error) {
	return func(ctx context.Context) (adapter.Verdict, error) {
		switch in := instance.(type) {
		case template.CheckNothing:
			if h, ok := h.(adapter.CheckNothing); ok {
				return h.CheckNothing(ctx, in)
			}
		case template.ListEntry:
			if h, ok := h.(adapter.ListEntry); ok {
				return h.ListEntry(ctx, in)
			}
		}
		return adapter.Verdict{}, errWrongHandler
	}
}

// reportCall makes the call for a Report instance.
func reportCall(h adapter.Handler, instance any) func(context.Context) (adapter.Verdict, error) {
	return func(ctx context.Context) (v adapter.Verdict, err error) {
		switch in := instance.(type) {
		case template.Metric:
			if h, ok := h.(adapter.Metric); ok {
				return v, h.Metric(ctx, []template.Metric{in})
			}
		case template.LogEntry:
			if h, ok := h.(adapter.LogEntry); ok {
				return v, h.LogEntry(ctx, []template.LogEntry{in})
			}
		case template.ReportNothing:
			if h, ok := h.(adapter.ReportNothing); ok {
				return v, h.ReportNothing(ctx, []template.ReportNothing{in})
			}
		}
		return v, errWrongHandler
	}
}

// begin starts a call; its answer comes on the channel before the deadline of ctx, or
// at it. The adapter may go on: its generation is held until it returns.
func (d *Dispatcher) begin(ctx context.Context, g *generation, c call) <-chan answer {
	out := make(chan answer, 1) // one answer, never waited for
	select {
	case d.slots <- struct{}{}:
	default:
		// Waiting for room belongs to the call's time, not to the request's goroutine.
		g.retain()
		go func() {
			defer g.release()
			select {
			case d.slots <- struct{}{}:
				d.run(ctx, c, out)
			case <-ctx.Done():
				out <- answer{err: errors.New("too many adapter calls are under way")}
			}
		}()
		return out
	}
	g.retain()
	go func() {
		defer g.release()
		d.run(ctx, c, out)
	}()
	return out
}

// run makes the call, in the slot that it has.
func (d *Dispatcher) run(ctx context.Context, c call, out chan<- answer) {
	defer func() { <-d.slots }()
	adapterName := attribute.String("adapter", c.handler.Info.Name)
	ctx, span := d.tel.Tracer.Start(ctx, c.template+":"+c.handler.Name+"("+c.handler.Info.Name+")",
		trace.WithAttributes(attribute.String("handler", c.handler.Name), adapterName))
	defer span.End()
	begun := time.Now()
	var a answer
	a.err = guarded(func() error {
		var err error
		a.verdict, err = c.ask(ctx)
		return err
	})
	span.SetAttributes(attribute.String("response_code", a.verdict.Code.String()))
	if a.err != nil {
		span.SetStatus(codes.Error, a.err.Error())
	}
	d.stats.dispatched(ctx, c, a, time.Since(begun))
	out <- a
}

// wait returns a call's answer, or an error when ctx ends first.
func wait(ctx context.Context, in <-chan answer) answer {
	select {
	case a := <-in:
		return a
	case <-ctx.Done():
	}
	// Both may be ready: an answer that is there counts.
	select {
	case a := <-in:
		return a
	default:
		return answer{err: fmt.Errorf("no answer in time: %w", context.Cause(ctx))}
	}
}
