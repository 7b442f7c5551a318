// Package serve runs one HTTP service: limits on what comes in, /health, and an end that loses no request.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/answer"
)

const (
	maxHeader = 32 << 10
	maxBody   = 16 << 10

	readTimeout    = 10 * time.Second
	requestTimeout = 30 * time.Second

	// Longer than the hour after which a sidecar gives an idle connection up: the side that sends requests must be the
	// one that closes, or a request meets a connection that is just going away.
	idleTimeout = 2 * time.Hour
)

// Config bounds a server's work and its end.
type Config struct {
	Name        string        // of the service, for /health
	MaxInFlight int           // requests in work at once; one more is answered 503
	Linger      time.Duration // after the order to stop: still answering, but closing each connection after its answer
	Drain       time.Duration // after Linger: how long requests in work may take to end
}

// Server serves one handler. It is used once.
type Server struct {
	cfg      Config
	log      *slog.Logger
	http     *http.Server
	slots    chan struct{} // capacity MaxInFlight: one token per request in work
	stopping atomic.Bool
}

// New returns a server for handler.
func New(cfg Config, handler http.Handler, log *slog.Logger) *Server {
	s := &Server{cfg: cfg, log: log, slots: make(chan struct{}, max(cfg.MaxInFlight, 1))}
	s.http = &http.Server{
		Handler:           s.guard(handler),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      requestTimeout + readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Run serves on ln, which it closes, until ctx ends, and returns when the last request has its answer or Drain is over.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	working, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	s.http.BaseContext = func(net.Listener) context.Context { return working }
	ended := make(chan error, 1) // capacity 1: Serve may end with nobody waiting
	go func() { ended <- s.http.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	err := s.stop(working, abandon)
	if last := <-ended; !errors.Is(last, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve %s: %w", ln.Addr(), last))
	}
	return err
}

func (s *Server) stop(working context.Context, abandon func()) error {
	s.stopping.Store(true)
	if s.cfg.Linger > 0 {
		timer := time.NewTimer(s.cfg.Linger)
		defer timer.Stop()
		<-timer.C
	}
	limit, cancel := context.WithTimeout(working, s.cfg.Drain)
	defer cancel()
	err := s.http.Shutdown(limit)
	if err == nil {
		return nil
	}
	s.log.Warn("requests abandoned", "after", s.cfg.Drain, "requests", len(s.slots))
	abandon()
	return errors.Join(fmt.Errorf("drain: %w", err), s.http.Close())
}

// guard stands before every request.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stopping := s.stopping.Load()
		if stopping {
			w.Header().Set("Connection", "close")
		}
		if r.URL.Path == "/health" {
			s.health(w, stopping)
			return
		}
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		default:
			answer.Error(w, http.StatusServiceUnavailable, s.cfg.Name+" is busy")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) health(w http.ResponseWriter, stopping bool) {
	if stopping {
		answer.JSON(w, http.StatusServiceUnavailable, map[string]string{"status": s.cfg.Name + " is stopping"})
		return
	}
	answer.JSON(w, http.StatusOK, map[string]string{"status": s.cfg.Name + " is healthy"})
}
