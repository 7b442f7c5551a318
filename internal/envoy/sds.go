package envoy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/envoy/internal/xdswire"
	"github.com/outrigger-mesh/outrigger/internal/identity"
)

// Secrets is where certificates come from; *identity.Source is one.
type Secrets interface {
	// Current returns the certificate in use, nil before the first.
	Current() *identity.Certificate
	// Changed returns a channel that is closed when there is a newer one.
	Changed() <-chan struct{}
}

// SDS serves Envoy's secret discovery on a Unix socket, state of the world and delta.
// A request made before the first certificate is answered when there is one.
type SDS struct {
	secrets  Secrets
	log      *slog.Logger
	listener net.Listener
	pushes   atomic.Int64
	refusals atomic.Int64
}

// maxSocketPath is what the kernel takes in a sockaddr_un, its final zero apart.
const maxSocketPath = 107

// ListenSDS opens the socket at path with mode 0600, in place of what a process that
// was killed left there. Who calls it must Run what it returns.
func ListenSDS(path string, secrets Secrets, log *slog.Logger) (*SDS, error) {
	l, err := listenSocket(path)
	if err != nil {
		return nil, fmt.Errorf("SDS: %w", err)
	}
	return &SDS{secrets: secrets, log: log, listener: l}, nil
}

func listenSocket(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path %q has %d bytes, at most %d are possible: use a shorter state folder", path, len(path), maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("folder of socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("stale socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("socket: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

// Pushes returns how many responses were sent, and how many Envoy refused.
func (s *SDS) Pushes() (sent, refused int64) { return s.pushes.Load(), s.refusals.Load() }

// Run serves until ctx ends, then closes every stream and removes the socket.
func (s *SDS) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	for method, delta := range map[string]bool{"StreamSecrets": false, "DeltaSecrets": true} {
		mux.HandleFunc("/envoy.service.secret.v3.SecretDiscoveryService/"+method, func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, r, delta)
		})
	}
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		Protocols:         new(http.Protocols),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 256, MaxReceiveBufferPerConnection: 1 << 16, MaxReceiveBufferPerStream: 1 << 16},
	}
	srv.Protocols.SetUnencryptedHTTP2(true)
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("SDS: %w", err)
	}
	return nil
}

// serve runs one stream.
func (s *SDS) serve(w http.ResponseWriter, r *http.Request, delta bool) {
	st, err := xdswire.Accept(w, r)
	if err != nil {
		return
	}
	if err := s.stream(r.Context(), st, delta); err != nil && r.Context().Err() == nil {
		s.log.Warn("SDS stream", "error", err)
		st.End(13, "stream broken")
		return
	}
	st.End(0, "")
}

func (s *SDS) stream(ctx context.Context, st *xdswire.Stream, delta bool) error {
	requests := make(chan xdswire.Request)
	ended := make(chan error, 1) // the reader's only word
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { ended <- read(ctx, st, delta, requests) }()
	sub := subscription{delta: delta, sent: map[string]string{}}
	for {
		changed := s.secrets.Changed()
		if res, due := sub.next(s.secrets.Current()); due {
			if err := st.Send(res.Encode(delta)); err != nil {
				return err
			}
			s.pushes.Add(1)
		}
		select {
		case r := <-requests:
			if refused, ok := sub.request(r); !ok {
				s.refusals.Add(1)
				s.log.Error("Envoy refused a secret", "names", r.Names, "error", refused)
			}
		case <-changed:
		case err := <-ended:
			return err
		}
	}
}

// read hands requests on until the stream or ctx ends. It leaves when the handler has:
// net/http closes the body then.
func read(ctx context.Context, st *xdswire.Stream, delta bool, to chan<- xdswire.Request) error {
	for {
		b, err := st.Recv()
		if err != nil {
			return nil //nolint:nilerr // Envoy went away, or closed the stream: no error of ours
		}
		r, err := xdswire.DecodeRequest(b, delta)
		if err != nil {
			return err // the caller logs it as the stream's error
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return nil
		}
	}
}
