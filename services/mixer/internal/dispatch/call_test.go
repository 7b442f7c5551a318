package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
)

// TestImmediateCallsNeedNoRoom: while every slot is taken, those who answer at once do,
// and those who may wait are not answered in time.
func TestImmediateCallsNeedNoRoom(t *testing.T) {
	t.Parallel()
	const noAnswer = "no answer, and the rule says to deny then"
	for _, c := range []struct {
		name  string
		rules []string
		took  time.Duration
		want  plan.Verdict
	}{
		{"yes", []string{"a: DENY 0.2s | 0 now"}, 0, plan.Verdict{ValidDuration: time.Minute, ValidUseCount: 7}},
		{"no", []string{"a: ALLOW 0.2s | 7 now no"}, 0,
			plan.Verdict{Code: 7, Message: "a.denier.default:now no", ValidDuration: time.Minute, ValidUseCount: 7}},
		{"error", []string{"a: DENY 0.2s | 0 now error"}, 0,
			plan.Verdict{Code: codes.Unavailable, Message: "a.default:" + noAnswer}},
		{"panic, deny", []string{"a: DENY 0.2s | 0 now panic"}, 0,
			plan.Verdict{Code: codes.Unavailable, Message: "a.default:" + noAnswer}},
		{"panic, allow", []string{"a: ALLOW 0.2s | 0 now panic"}, 0, plan.Verdict{}},
		{"one of each", []string{"a: ALLOW 0.2s | 7 now no", "b: DENY 0.3s | 0 later"}, 300 * time.Millisecond,
			plan.Verdict{Code: 7, Message: "a.denier.default:now no, b.default:" + noAnswer}},
		{"one of each, the other way round", []string{"a: DENY 0.3s | 0 later", "b: ALLOW 0.2s | 7 now no"}, 300 * time.Millisecond,
			plan.Verdict{Code: codes.Unavailable, Message: "a.default:" + noAnswer + ", b.denier.default:now no"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := running(t)
				(&probe{}).swap(t, d, c.rules...)
				for range maxCalls {
					d.slots <- struct{}{}
				}
				begun := time.Now()
				got := d.Check(t.Context(), request(nil), plan.All)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if took := time.Since(begun); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
			})
		})
	}
}

func TestImmediateReports(t *testing.T) {
	t.Parallel()
	d, p := running(t), &probe{}
	p.swap(t, d, "a: ALLOW 0.2s | 0 now", "b: ALLOW 0.2s | 0 now panic", "c: ALLOW 0.2s | 0 later")
	err := d.Report(t.Context(), request(nil))
	const want = "handler b.denier.default: the adapter panicked: in a report"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if n := p.reports.Load(); n != 3 {
		t.Errorf("%d reports arrived, want 3", n)
	}
	_, _, handlers := d.Status()
	var got []string
	for _, h := range handlers {
		got = append(got, fmt.Sprintf("%s %d %d", h.GetName(), h.GetCalls(), h.GetErrors()))
	}
	if diff := cmp.Diff([]string{"a.default 1 0", "b.default 1 1", "c.default 1 0"}, got); diff != "" {
		t.Errorf("calls and errors (-want +got):\n%s", diff)
	}
}

// TestSpans: the calls of a sampled request are children of its span, whatever the
// handler; a request that is not sampled has none.
func TestSpans(t *testing.T) {
	t.Parallel()
	for _, sampled := range []bool{true, false} {
		t.Run(fmt.Sprint("sampled ", sampled), func(t *testing.T) {
			t.Parallel()
			sampler := sdktrace.NeverSample()
			if sampled {
				sampler = sdktrace.AlwaysSample()
			}
			ended := tracetest.NewSpanRecorder()
			tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSpanProcessor(ended)).Tracer("test")
			d := running(t)
			d.tel.Tracer = tracer
			(&probe{}).swap(t, d, "a: ALLOW 1s | 7 now no", "b: ALLOW 1s | 0 later", "c: ALLOW 1s | 0 now error")
			ctx, whole := tracer.Start(context.Background(), "request")
			d.Check(ctx, request(nil), plan.All)
			whole.End()
			var want []string
			if sampled {
				want = []string{
					"checknothing:a.denier.default(denier) PermissionDenied ",
					"checknothing:b.denier.default(denier) OK ",
					"checknothing:c.denier.default(denier) OK the backend is away",
				}
			}
			if diff := cmp.Diff(want, children(whole.SpanContext().SpanID().String(), ended.Ended())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// children are the spans right below one, sorted: name, response code and error.
func children(of string, spans []sdktrace.ReadOnlySpan) []string {
	var out []string
	for _, s := range spans {
		if s.Parent().SpanID().String() != of {
			continue
		}
		code := ""
		for _, a := range s.Attributes() {
			if a.Key == "response_code" {
				code = a.Value.AsString()
			}
		}
		out = append(out, strings.Join([]string{s.Name(), code, s.Status().Description}, " "))
	}
	slices.Sort(out)
	return out
}
