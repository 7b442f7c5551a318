package rpc

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	codepb "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

// durationMetric is named and described by the OpenTelemetry semantic conventions for
// RPC metrics. Its buckets begin where answers from memory are.
const durationMetric = "rpc.server.call.duration"

var durationBuckets = []float64{.00025, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// calls measures how long answers took, by method and status. The instrumentation of
// gRPC can do that too, but sorts and hashes the same attributes for every call.
type calls struct {
	durations metric.Float64Histogram
	sets      *telemetry.Sets[outcome]
}

type outcome struct {
	method string // without the leading slash
	code   codes.Code
}

func (o outcome) attributes() []attribute.KeyValue {
	code := codepb.Code(o.code).String()
	out := []attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.RPCMethod(o.method), semconv.RPCResponseStatusCode(code)}
	switch o.code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		// The others are the caller's errors, and the conventions count only the server's.
		out = append(out, semconv.ErrorTypeKey.String(code))
	}
	return out
}

func newCalls(m metric.Meter) (*calls, error) {
	durations, err := m.Float64Histogram(durationMetric, metric.WithUnit("s"),
		metric.WithDescription("how long calls took that were answered here"), metric.WithExplicitBucketBoundaries(durationBuckets...))
	if err != nil {
		return nil, fmt.Errorf("metrics of calls: %w", err)
	}
	return &calls{durations: durations, sets: telemetry.NewSets(outcome.attributes)}, nil
}

// ended takes a call that began at a time and whose answer is known.
func (c *calls) ended(ctx context.Context, method string, began time.Time, err error) {
	c.durations.Record(ctx, time.Since(began).Seconds(), c.sets.Of(outcome{method[1:], status.Code(err)}))
}
