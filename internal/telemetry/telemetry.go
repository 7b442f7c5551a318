// Package telemetry makes what a service sees itself by: a structured logger, a meter
// read at /metrics, and a tracer that exports by OTLP. In: Config. Out: a Telemetry
// that is handed to constructors. It sets no globals.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Config is the telemetry part of every service's settings.
type Config struct {
	LogLevel  string  `yaml:"logLevel" help:"debug, info, warn or error"`
	LogFormat string  `yaml:"logFormat" help:"json or text"`
	OTLP      string  `yaml:"otlp" help:"host:port of an OTLP gRPC collector in plain text; empty exports no traces"`
	Sample    float64 `yaml:"sample" help:"share of traces begun here that are kept, 0 to 1; a caller's decision is always followed"`
}

// DefaultConfig logs JSON at info and exports no traces.
func DefaultConfig() Config { return Config{LogLevel: "info", LogFormat: "json", Sample: 1} }

// Telemetry is what constructors take. Its parts are safe for concurrent use.
type Telemetry struct {
	Log        *slog.Logger
	Meter      metric.Meter
	Tracer     trace.Tracer
	Meters     metric.MeterProvider
	Tracers    trace.TracerProvider
	Propagator propagation.TextMapPropagator

	traces   bool
	registry *prometheus.Registry
	shutdown []func(context.Context) error
}

// New makes the telemetry of one service, logging to standard error. Errors: a log
// level or format that does not exist, a share outside of 0 to 1.
func New(cfg Config, service string) (*Telemetry, error) {
	log, err := newLogger(cfg, service, os.Stderr)
	if err != nil {
		return nil, err
	}
	t, err := newMeters(service)
	if err != nil {
		return nil, err
	}
	t.Log = log
	if err := t.trace(cfg, service); err != nil {
		return nil, err
	}
	return t, nil
}

// Discard returns telemetry that goes nowhere, for tests.
func Discard() *Telemetry {
	t, err := newMeters("test")
	if err != nil {
		panic(fmt.Sprintf("telemetry without outside parts: %v", err)) // our own promise
	}
	t.Log = slog.New(slog.DiscardHandler)
	t.setTracers(noop.NewTracerProvider(), "test")
	return t
}

// Metrics serves the Prometheus text format.
func (t *Telemetry) Metrics() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Run waits for ctx to end, then sends what is still in its buffers, for 3 s at most.
func (t *Telemetry) Run(ctx context.Context) error {
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	for _, f := range t.shutdown {
		if err := f(end); err != nil {
			t.Log.Warn("telemetry not sent", "error", err)
		}
	}
	return nil
}

func newLogger(cfg Config, service string, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return nil, fmt.Errorf("telemetry.logLevel %q: want debug, info, warn or error", cfg.LogLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler
	switch cfg.LogFormat {
	case "json":
		h = slog.NewJSONHandler(w, opts)
	case "text":
		h = slog.NewTextHandler(w, opts)
	default:
		return nil, fmt.Errorf("telemetry.logFormat %q: want json or text", cfg.LogFormat)
	}
	return slog.New(h).With("service", service), nil
}

func newMeters(service string) (*Telemetry, error) {
	reg := prometheus.NewRegistry()
	if err := errors.Join(reg.Register(collectors.NewGoCollector()),
		reg.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))); err != nil {
		return nil, fmt.Errorf("process metrics: %w", err)
	}
	exp, err := otelprom.New(otelprom.WithRegisterer(reg), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics exporter: %w", err)
	}
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exp))
	return &Telemetry{
		Meter: mp.Meter("outrigger/" + service), Meters: mp, registry: reg,
		Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		shutdown:   []func(context.Context) error{mp.Shutdown},
	}, nil
}

func (t *Telemetry) trace(cfg Config, service string) error {
	if cfg.Sample < 0 || cfg.Sample > 1 {
		return fmt.Errorf("telemetry.sample %v: want 0 to 1", cfg.Sample)
	}
	if cfg.OTLP == "" {
		t.setTracers(noop.NewTracerProvider(), service) // costs next to nothing
		return nil
	}
	exp, err := otlptracegrpc.New(context.Background(), otlptracegrpc.WithEndpoint(cfg.OTLP), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithTimeout(5*time.Second))
	if err != nil {
		return fmt.Errorf("telemetry.otlp %q: %w", cfg.OTLP, err)
	}
	tp := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.Sample))),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))),
		sdktrace.WithBatcher(exp, sdktrace.WithBatchTimeout(time.Second)),
	)
	t.setTracers(tp, service)
	t.traces = true
	t.shutdown = append(t.shutdown, tp.Shutdown)
	return nil
}

// Traces says whether spans are kept: without a collector to send them to, none are.
func (t *Telemetry) Traces() bool { return t.traces }

func (t *Telemetry) setTracers(tp trace.TracerProvider, service string) {
	t.Tracers, t.Tracer = tp, tp.Tracer("outrigger/"+service)
}
