// Package status serves the agent's state on loopback as plain HTTP: health, readiness
// and metrics for whoever runs the workload, and drain. In: a Report. Out: JSON and
// Prometheus text. It keeps no state.
package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Report is the agent's state at one moment.
type Report struct {
	// Proxy is what the proxy waits for, Workload what the workload as a whole waits
	// for, "" for nothing.
	Proxy, Workload string

	EnvoyUp             bool
	EnvoyStarts         int
	EnvoyState          string
	EnvoyVersion        string
	Acknowledged        uint64
	CertificateNotAfter time.Time // zero before the first
	SecretPushes        int64
	SecretRefusals      int64
	Names               int
	NamesFresh          bool
	DNSAnswers          int64
	Registered          string // state that pilot has taken, "" while that is not known
	Registrations       int
}

// Agent is what the server asks and tells.
type Agent interface {
	// Report returns the state now.
	Report() Report
	// Drain takes the workload out of service; it goes on serving what it has.
	Drain()
}

// Server serves on one listener.
type Server struct {
	agent    Agent
	log      *slog.Logger
	listener net.Listener
}

// Listen opens address. Who calls it must Run what it returns.
func Listen(ctx context.Context, address string, agent Agent, log *slog.Logger) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return &Server{agent: agent, log: log, listener: l}, nil
}

// Address returns where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { s.ready(w, s.agent.Report().Proxy) })
	mux.HandleFunc("GET /readyz/workload", func(w http.ResponseWriter, _ *http.Request) { s.ready(w, s.agent.Report().Workload) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		write(w, s.agent.Report())
	})
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		s.agent.Drain()
		w.WriteHeader(http.StatusAccepted)
	})
	srv := &http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	srv.SetKeepAlivesEnabled(false) // a connection that is kept costs more than a new one
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

func (s *Server) ready(w http.ResponseWriter, waiting string) {
	w.Header().Set("Content-Type", "application/json")
	if waiting != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	doc := struct {
		Ready      bool   `json:"ready"`
		WaitingFor string `json:"waitingFor,omitempty"`
	}{waiting == "", waiting}
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		s.log.Debug("readiness not sent", "error", err)
	}
}

// write writes Prometheus's text format.
func write(w io.Writer, r Report) {
	metric := func(name, kind, help string, v any) {
		fmt.Fprintf(w, "# HELP outrigger_agent_%s %s\n# TYPE outrigger_agent_%s %s\noutrigger_agent_%s %v\n", name, help, name, kind, name, v)
	}
	flag := func(name, help string, v bool) {
		n := 0
		if v {
			n = 1
		}
		metric(name, "gauge", help, n)
	}
	flag("ready", "Whether the proxy is ready.", r.Proxy == "")
	flag("workload_ready", "Whether the workload takes requests.", r.Workload == "")
	flag("envoy_up", "Whether Envoy runs.", r.EnvoyUp)
	metric("envoy_starts_total", "counter", "How often Envoy was started.", r.EnvoyStarts)
	metric("acknowledged_revision", "gauge", "Revision of the config in force.", r.Acknowledged)
	if !r.CertificateNotAfter.IsZero() {
		metric("certificate_expiry_seconds", "gauge", "End of the certificate, in seconds since 1970.", r.CertificateNotAfter.Unix())
	}
	metric("sds_pushes_total", "counter", "Responses with secrets that were sent to Envoy.", r.SecretPushes)
	metric("sds_refusals_total", "counter", "Secrets that Envoy refused.", r.SecretRefusals)
	metric("dns_names", "gauge", "Names in the table.", r.Names)
	flag("dns_names_fresh", "Whether pilot is telling names now.", r.NamesFresh)
	metric("dns_answers_total", "counter", "DNS queries that were answered.", r.DNSAnswers)
	flag("registered", "Whether pilot has the workload as ready.", r.Registered == "READY")
	metric("registrations_total", "counter", "How often pilot has taken the registration.", r.Registrations)
}
