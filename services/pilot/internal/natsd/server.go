package natsd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Config is what a Server needs to know.
type Config struct {
	// Listen is the address for clients, an IP address and a port.
	Listen string
	// StoreDir keeps the buckets; it is made with mode 0700. One process may use it.
	StoreDir string
	// TLS must demand and verify client certificates. It is asked anew for each
	// connection, so that a renewed certificate is used at once.
	TLS *tls.Config
	Access
}

// Server is an embedded NATS server.
type Server struct {
	nats  *server.Server
	log   *logger
	on    string
	ready chan struct{}
}

// startLimit bounds opening the store, which may hold much, and the port.
const startLimit = time.Minute

// New checks the configuration; nothing runs before Run.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	if cfg.TLS == nil || cfg.TLS.ClientAuth < tls.RequireAnyClientCert ||
		cfg.TLS.ClientAuth < tls.RequireAndVerifyClientCert && cfg.TLS.VerifyConnection == nil {
		return nil, errors.New("nats: TLS settings do not demand and verify client certificates")
	}
	text, err := render(cfg.Listen, cfg.StoreDir, nil, cfg.Access)
	if err != nil {
		return nil, err
	}
	var o server.Options
	if err := o.ProcessConfigString(text); err != nil {
		return nil, fmt.Errorf("nats: settings: %w", err)
	}
	o.TLS, o.TLSVerify, o.TLSMap = true, true, true
	o.TLSConfig, o.TLSTimeout = cfg.TLS, 5
	o.NoSigs = true // signals are pilot's
	if err := os.MkdirAll(cfg.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("nats: store: %w", err)
	}
	n, err := server.NewServer(&o)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	s := &Server{nats: n, log: newLogger(log), on: cfg.Listen, ready: make(chan struct{})}
	n.SetLoggerV2(s.log, false, false, false)
	return s, nil
}

// Ready is closed when clients can connect.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is the address that clients connect to, nil before Ready.
func (s *Server) Addr() net.Addr { return s.nats.Addr() }

// Run serves until ctx ends, and returns when everything is on disk and closed.
func (s *Server) Run(ctx context.Context) error {
	s.nats.Start()
	defer func() {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}()
	started := make(chan bool, 1)
	go func() { started <- s.nats.ReadyForConnections(startLimit) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.log.fatal:
		return fmt.Errorf("nats on %s: %w", s.on, err)
	case ok := <-started:
		if !ok {
			return fmt.Errorf("nats on %s: not ready after %v", s.on, startLimit)
		}
	}
	close(s.ready)
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.log.fatal:
		return fmt.Errorf("nats on %s: %w", s.on, err)
	}
}

// logger passes the server's lines on. What the server says in passing is Debug here;
// what it would end the process for is an error of Run.
type logger struct {
	log   *slog.Logger
	fatal chan error // 1: the first is the cause
}

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log.With("part", "nats"), fatal: make(chan error, 1)}
}

func (l *logger) Noticef(format string, v ...any) {
	l.log.Debug("nats", "said", fmt.Sprintf(format, v...))
}
func (l *logger) Debugf(format string, v ...any) {
	l.log.Debug("nats", "said", fmt.Sprintf(format, v...))
}
func (l *logger) Tracef(format string, v ...any) {
	l.log.Debug("nats", "said", fmt.Sprintf(format, v...))
}
func (l *logger) Warnf(format string, v ...any) {
	l.log.Warn("nats", "said", fmt.Sprintf(format, v...))
}
func (l *logger) Errorf(format string, v ...any) {
	l.log.Warn("nats", "said", fmt.Sprintf(format, v...))
}

func (l *logger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, v...):
	default: // the first one is kept
	}
}
