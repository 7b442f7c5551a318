// Package rest serves a service's gRPC API as REST, and its health. In: HTTP by mTLS,
// by Unix socket, and on the plain ops address. Out: calls to the rpc.Server of the
// same process, with the caller's identity. It decides nothing: access is rpc's.
package rest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/limit"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

// Register is the shape of the generated Register…Handler functions.
type Register func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error

// API is what one service serves.
type API struct {
	Register []Register
	// OpenAPI is the JSON document served at /openapi.json. Query parameters and bodies
	// that it does not name are refused.
	OpenAPI []byte
	// Ready says why the service is not ready, nil when it is.
	Ready func() error
	// Extra handlers of the ops address by path.
	Extra map[string]http.Handler
}

// Server serves HTTP. Make it with NewServer.
type Server struct {
	name string
	cfg  rpc.Config
	tls  *tls.Config
	log  *slog.Logger
	api  http.Handler
	ops  http.Handler
}

// NewServer returns the REST side of s.
func NewServer(cfg rpc.Config, s *rpc.Server, tlsConfig *tls.Config, tel *telemetry.Telemetry, api API) (*Server, error) {
	known, err := operationsOf(api.OpenAPI)
	if err != nil {
		return nil, err
	}
	mux := runtime.NewServeMux(
		runtime.WithMetadata(callerOf),
		// A POST is a POST, whatever the type of its body and its headers say.
		runtime.WithDisablePathLengthFallback(),
		runtime.WithMiddlewares(known.strict),
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithRoutingErrorHandler(known.misrouted),
		runtime.WithMarshalerOption(runtime.MIMEWildcard, oneValue{&runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{EmitUnpopulated: false},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false},
		}}))
	for _, register := range api.Register {
		if err := register(context.Background(), mux, s.Loopback()); err != nil {
			return nil, fmt.Errorf("REST gateway: %w", err)
		}
	}
	root := http.NewServeMux()
	root.Handle("/", bounded(mux, int64(cfg.RequestLimit()), s.IsAdmin))
	own := http.NewServeMux()
	own.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(api.OpenAPI) //nolint:errcheck // the client went away
	})
	own.Handle("GET /healthz", health(nil))
	own.Handle("GET /readyz", health(api.Ready))
	for _, path := range []string{"/openapi.json", "/healthz", "/readyz"} {
		root.Handle(path, own) // with other methods as well: it says which there are
	}
	return &Server{
		name: s.Name(), cfg: cfg, tls: tlsConfig, log: tel.Log,
		api: otelhttp.NewHandler(proven(root), "rest", otelhttp.WithTracerProvider(tel.Tracers),
			otelhttp.WithMeterProvider(tel.Meters), otelhttp.WithPropagators(tel.Propagator)),
		ops: opsHandler(tel, api),
	}, nil
}

func opsHandler(tel *telemetry.Telemetry, api API) http.Handler {
	ops := http.NewServeMux()
	ops.Handle("GET /healthz", health(nil))
	ops.Handle("GET /readyz", health(api.Ready))
	ops.Handle("GET /metrics", tel.Metrics())
	for path, h := range api.Extra {
		ops.Handle(path, h)
	}
	return ops
}

// health answers 200 or 503 with the reason, as JSON.
func health(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, code := map[string]string{"status": "ok"}, http.StatusOK
		if check != nil {
			if err := check(); err != nil {
				body, code = map[string]string{"status": "not ready", "waitingFor": err.Error()}, http.StatusServiceUnavailable
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(body) //nolint:errcheck // the client went away
	})
}

// proven answers while the certificate is valid that the connection was opened with;
// then it has the client make another connection.
func proven(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var end time.Time
		if r.TLS != nil {
			end = identity.PeerEnd(r.TLS.PeerCertificates)
		}
		if end.IsZero() {
			next.ServeHTTP(w, r)
			return
		}
		if time.Now().After(end) {
			w.Header().Set("Connection", "close")
			refuse(w, http.StatusUnauthorized, codes.Unauthenticated,
				"the certificate on this connection ended at "+end.UTC().Format(time.RFC3339)+": connect with its successor")
			return
		}
		ctx, cancel := context.WithDeadline(r.Context(), end)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// refuse answers as the gateway writes the errors of calls.
func refuse(w http.ResponseWriter, status int, code codes.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"code": int(code), "message": message}) //nolint:errcheck // the client went away
}

// stranger bounds the body of a request of who is no administrator, in bytes: it is decoded
// before the gRPC side says who may call what, and needs a hundred times its memory then.
const stranger = 64 << 10

// bounded bounds the bodies of requests, in bytes.
func bounded(next http.Handler, limit int64, admin func(rpc.Caller) bool) http.Handler {
	whole, little := http.MaxBytesHandler(next, limit), http.MaxBytesHandler(next, min(limit, stranger))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if admin(caller(r)) {
			whole.ServeHTTP(w, r)
			return
		}
		little.ServeHTTP(w, r)
	})
}

type localKey struct{}

// callerOf tells the gRPC side who made an HTTP request.
func callerOf(_ context.Context, r *http.Request) metadata.MD { return rpc.GatewayMetadata(caller(r)) }

// caller says who made an HTTP request.
func caller(r *http.Request) rpc.Caller {
	c := rpc.Caller{Address: r.RemoteAddr}
	if r.TLS != nil {
		c.ID = identity.PeerID(r.TLS.PeerCertificates)
	}
	c.Local, _ = r.Context().Value(localKey{}).(bool)
	return c
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var g run.Group
	if s.cfg.Ops != "" {
		g.Add("ops", func(ctx context.Context) error { return s.serveTCP(ctx, s.cfg.Ops, "listen.ops", s.ops, nil) })
	}
	if s.cfg.REST != "" {
		g.Add("rest", func(ctx context.Context) error { return s.serveTCP(ctx, s.cfg.REST, "listen.rest", s.api, s.tls) })
	}
	if s.cfg.Sockets != "" {
		g.Add("rest socket", s.serveSocket)
	}
	g.Add("end", func(ctx context.Context) error { <-ctx.Done(); return nil })
	return g.Run(ctx)
}

func (s *Server) serveTCP(ctx context.Context, addr, key string, h http.Handler, cfg *tls.Config) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if cfg == nil {
		return s.serve(ctx, limit.New(l, opsConnections, time.Second), h, opsIdle)
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"h2", "http/1.1"}
	return s.serve(ctx, tls.NewListener(s.cfg.Limited(l), cfg), h, apiIdle)
}

func (s *Server) serveSocket(ctx context.Context) error {
	l, err := rpc.ListenSocket(ctx, filepath.Join(s.cfg.Sockets, s.name+".rest.sock"), s.cfg.SocketUIDs)
	if err != nil {
		return err
	}
	return s.serve(ctx, l, s.api, apiIdle)
}

const (
	// opsConnections are open at the ops port at once; a further one takes the place of
	// the one of least use. Probes and scrapers need few.
	opsConnections = 64
	opsIdle        = 30 * time.Second
	apiIdle        = 2 * time.Minute
)

// serve serves until ctx ends. idle is how long a connection is kept between requests.
func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler, idle time.Duration) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       idle,
		MaxHeaderBytes:    64 << 10,
		// A panic is among what it says.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, localKey{}, rpc.IsLocal(c))
		},
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		err = errors.Join(err, srv.Close())
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
