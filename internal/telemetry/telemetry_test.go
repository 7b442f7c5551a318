package telemetry

import (
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// TestWithoutACollectorACallersTraceIsHandedOn: a service that exports nothing itself must
// not take a trace away from those that it calls.
func TestWithoutACollectorACallersTraceIsHandedOn(t *testing.T) {
	t.Parallel()
	tel, err := New(DefaultConfig(), "test")
	if err != nil {
		t.Fatal(err)
	}
	caller := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
	_, span := tel.Tracer.Start(trace.ContextWithRemoteSpanContext(t.Context(), caller), "work")
	defer span.End()
	if got := span.SpanContext(); got.TraceID() != caller.TraceID() || got.SpanID() != caller.SpanID() || !got.IsSampled() || span.IsRecording() {
		t.Errorf("span %+v, recording %v, want the caller's, not recording", got, span.IsRecording())
	}
}

func TestASampleOutOfRangeIsRefused(t *testing.T) {
	t.Parallel()
	for _, share := range []float64{-0.1, 1.1} {
		cfg := DefaultConfig()
		cfg.Sample = share
		if _, err := New(cfg, "test"); err == nil {
			t.Errorf("sample %v was taken", share)
		}
	}
}
