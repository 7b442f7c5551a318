// Package prometheus is the adapter that counts and measures, and shows the result to
// Prometheus at an address of its own: metrics of the mesh's traffic, apart from those
// of mixer itself.
package prometheus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/limit"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// maxConnections are open at once; a new one takes the place of the least used.
const maxConnections = 64

// Exporter holds the metrics of all handlers of the process.
type Exporter struct {
	addr string
	log  *slog.Logger
	book *book
}

// New returns an Exporter that Run serves at addr, "" for nowhere.
func New(addr string, log *slog.Logger) *Exporter {
	return &Exporter{addr: addr, log: log, book: newBook()}
}

// Handler serves the metrics.
func (e *Exporter) Handler() http.Handler {
	return promhttp.HandlerFor(e.book.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 8})
}

// Run serves /metrics until ctx ends.
func (e *Exporter) Run(ctx context.Context) error {
	if e.addr == "" {
		<-ctx.Done()
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", e.addr)
	if err != nil {
		return fmt.Errorf("serve the prometheus adapter: %w", err)
	}
	e.log.Info("serving the prometheus adapter", "address", l.Addr().String())
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", e.Handler())
	s := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1) // one server, one error
	go func() { failed <- s.Serve(limit.New(l, maxConnections, time.Second)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the prometheus adapter: %w", err)
	case <-ctx.Done():
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("close the prometheus adapter: %w", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the prometheus adapter: %w", err)
	}
	return nil
}

// Info describes the adapter.
func (e *Exporter) Info() adapter.Info {
	return adapter.Info{
		Name:      "prometheus",
		Templates: []string{template.NameMetric},
		Params:    &configv1.PrometheusParams{},
		Validate: func(p proto.Message, env adapter.Env) error {
			_, err := resolve(p, env)
			return err
		},
		Build: func(p proto.Message, env adapter.Env) (adapter.Handler, error) {
			byInstance, err := resolve(p, env)
			if err != nil {
				return nil, err
			}
			return e.book.open(env.Handler, byInstance), nil
		},
	}
}

// resolve finds the definition for every instance that is sent to the handler.
func resolve(m proto.Message, env adapter.Env) (map[string]definition, error) {
	p, ok := m.(*configv1.PrometheusParams)
	if !ok {
		return nil, fmt.Errorf("params are a %T", m)
	}
	out, names := map[string]definition{}, map[string]bool{}
	for i, info := range p.GetMetrics() {
		d, err := define(info)
		if err != nil {
			return nil, fmt.Errorf("metrics[%d].%w", i, err)
		}
		if names[d.name] {
			return nil, fmt.Errorf("metrics[%d].name: %q stands twice", i, d.name)
		}
		names[d.name] = true
		for _, t := range env.Instances {
			if !t.Is(info.GetInstanceName(), env.Namespace) {
				continue
			}
			if _, ok := out[t.Name]; ok {
				return nil, fmt.Errorf("metrics[%d].instance_name: instance %s has another metric already", i, t.Name)
			}
			if err := d.fits(t); err != nil {
				return nil, fmt.Errorf("metrics[%d]: %w", i, err)
			}
			out[t.Name] = d
		}
	}
	for _, t := range env.Instances {
		if _, ok := out[t.Name]; !ok {
			return nil, fmt.Errorf("metrics: there is none for instance %s", t.Name)
		}
	}
	return out, nil
}
