// Package status serves the agent's state as plain HTTP: health, readiness and metrics on
// loopback for every process of the workload, and at a Unix socket, for the agent's own
// user and root, drain as well. In: a Report. Out: JSON and Prometheus text. It keeps no
// state.
package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/limit"
	"github.com/outrigger-mesh/outrigger/internal/run"
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

// What clients can make the server keep: few connections, the one of least use closed
// for a new one, and none for long.
const (
	maxConns = 32
	patience = 5 * time.Second
)

// Server serves on a port and a socket.
type Server struct {
	agent        Agent
	log          *slog.Logger
	open, closed net.Listener // to everybody here, and to the agent's own user
}

// Listen opens address and the Unix socket at path, in the place of one that was left
// there. Who calls it must Run what it returns.
func Listen(ctx context.Context, address, path string, agent Agent, log *slog.Logger) (*Server, error) {
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	private, err := listenPrivate(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("status: %w", errors.Join(err, tcp.Close()))
	}
	return &Server{agent: agent, log: log, open: limit.New(tcp, maxConns, 0), closed: limit.New(private, maxConns, 0)}, nil
}

// listenPrivate opens a Unix socket that only the owner can use.
func listenPrivate(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Address returns the port where the server listens.
func (s *Server) Address() string { return s.open.Addr().String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	full := s.reads()
	full.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		s.agent.Drain()
		w.WriteHeader(http.StatusAccepted)
	})
	var g run.Group
	g.Add("status socket", func(ctx context.Context) error { return s.serve(ctx, s.closed, full) })
	g.Add("status port", func(ctx context.Context) error { return s.serve(ctx, s.open, s.reads()) })
	return g.Run(ctx)
}

// reads is what changes nothing.
func (s *Server) reads() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { s.ready(w, s.agent.Report().Proxy) })
	mux.HandleFunc("GET /readyz/workload", func(w http.ResponseWriter, _ *http.Request) { s.ready(w, s.agent.Report().Workload) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		write(w, s.agent.Report())
	})
	return mux
}

func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadTimeout: patience, WriteTimeout: patience, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	srv.SetKeepAlivesEnabled(false) // a connection that is kept costs more than a new one
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
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
