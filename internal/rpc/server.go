// Package rpc serves and calls gRPC with mesh identities. In: connections by TLS, by
// Unix socket, and from the REST gateway of the same process. Out: calls whose caller
// is known and allowed, and errors as gRPC statuses. It decides no policy beyond the
// access table it is given; a method that is not in the table is for administrators.
package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/outrigger-mesh/outrigger/internal/limit"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

// Config is the listening part of every service's settings. An empty address is not
// served.
type Config struct {
	GRPC       string   `yaml:"grpc" help:"host:port for gRPC with mTLS"`
	REST       string   `yaml:"rest" help:"host:port for REST with mTLS"`
	Ops        string   `yaml:"ops" help:"host:port for /healthz, /readyz and /metrics in plain text"`
	Sockets    string   `yaml:"sockets" help:"directory for the Unix sockets <service>.grpc.sock and <service>.rest.sock"`
	SocketUIDs []int    `yaml:"socketUIDs" help:"user ids beside root and our own that may call by Unix socket"`
	Admins     []string `yaml:"admins" help:"SPIFFE IDs that may call admin methods"`
	// Connections bounds those by TLS; see Limited.
	Connections int `yaml:"connections" help:"how many connections may be open at the gRPC port, and how many at the REST port (0: 4096)"`
	// MaxRequest bounds a request in bytes, by gRPC and by REST; 0 is 16 MiB. Services
	// that anybody may call set what their largest request needs.
	MaxRequest int `yaml:"-"`
	// ConnectionAge is how long a connection by TLS is used before the peer is asked to
	// make another, give or take a tenth; 0 is 8 hours.
	ConnectionAge time.Duration `yaml:"-"`
}

// RequestLimit is the largest request that is read, in bytes.
func (c Config) RequestLimit() int {
	if c.MaxRequest > 0 {
		return c.MaxRequest
	}
	return maxMessage
}

// Limits of the connections at a port.
const (
	connections = 4096
	// idle is longer than a stream in use is ever silent, see the keepalive of server.
	idle = time.Minute
)

// Limited bounds the connections of a port by TLS. When there are too many, those that
// have been idle for a minute give way, or one of the address that has the most.
func (c Config) Limited(l net.Listener) net.Listener {
	n := c.Connections
	if n <= 0 {
		n = connections
	}
	return limit.New(l, n, idle)
}

// Access says who may call a method.
type Access uint8

// The levels. The zero Access is the most closed.
const (
	// Admin is for local administrators and the identities in Config.Admins.
	Admin Access = iota
	// Mesh is for any verified mesh identity, and for administrators.
	Mesh
	// Open is for everybody; the method itself checks what it must.
	Open
)

// Bounds of a message, in bytes: of one that a service or a client of ours reads, and of
// what a proxy is sent, which has no such bound.
const (
	maxMessage = 16 << 20
	maxAnswer  = 256 << 20
)

// Calls at a time on a connection. REST and the command line have all of theirs on one; a
// proxy that has more calls makes another one.
const (
	remoteCalls = 128
	localCalls  = 1 << 16
)

const (
	// connectionAge is less than what half of a certificate's usual life of 24 hours
	// leaves, at which it is renewed: peers come back with the next one long before the
	// end of the first would cut them off.
	connectionAge = 8 * time.Hour
	// connectionGrace is how long calls may take to end on a connection that is left.
	connectionGrace = 30 * time.Second
)

// workers answer calls one after the other, and keep the stacks that calls need; when all
// have one, goroutines of their own take further calls.
const workers = 8

func (c Config) connectionAge() time.Duration {
	if c.ConnectionAge > 0 {
		return c.ConnectionAge
	}
	return connectionAge
}

// registrar registers every service with both servers, each method behind the door.
type registrar struct{ s *Server }

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	own := *desc
	own.Methods, own.Streams = nil, slices.Clone(desc.Streams)
	for _, m := range desc.Methods {
		own.Streams = append(own.Streams, grpc.StreamDesc{StreamName: m.MethodName, Handler: one(m.Handler)})
	}
	for i, m := range own.Streams {
		own.Streams[i].Handler = r.s.door("/"+desc.ServiceName+"/"+m.StreamName, m.Handler)
	}
	r.s.remote.RegisterService(&own, impl)
	r.s.local.RegisterService(&own, impl)
}

// Server serves gRPC. Register services before Run.
type Server struct {
	name   string
	cfg    Config
	admins map[spiffe.ID]bool
	access map[string]Access
	tel    *telemetry.Telemetry
	calls  *calls
	remote *grpc.Server // by TLS: connections have an age
	local  *grpc.Server // by Unix socket and pipe
	pipe   *bufconn.Listener
	loop   *grpc.ClientConn
	first  time.Duration // for the first message of a call
	large  sync.Mutex    // of the decoding of large messages
}

// NewServer returns a server named for its service. Errors: an admin that is no
// SPIFFE ID.
func NewServer(name string, cfg Config, tlsConfig *tls.Config, access map[string]Access, tel *telemetry.Telemetry) (*Server, error) {
	s := &Server{name: name, cfg: cfg, access: access, tel: tel, first: firstMessage, admins: map[spiffe.ID]bool{}, pipe: bufconn.Listen(1 << 20)}
	for _, a := range cfg.Admins {
		id, err := spiffe.Parse(a)
		if err != nil {
			return nil, fmt.Errorf("listen.admins: %w", err)
		}
		s.admins[id] = true
	}
	var err error
	if s.calls, err = newCalls(tel.Meter); err != nil {
		return nil, err
	}
	creds := newTransport(tlsConfig)
	s.local = s.server(creds, localCalls, keepalive.ServerParameters{})
	s.remote = s.server(creds, remoteCalls, keepalive.ServerParameters{MaxConnectionAge: cfg.connectionAge(), MaxConnectionAgeGrace: connectionGrace})
	if s.loop, err = dialPipe(s.pipe); err != nil {
		return nil, err
	}
	return s, nil
}

// server makes one of the two servers.
func (s *Server) server(creds credentials.TransportCredentials, calls uint32, alive keepalive.ServerParameters) *grpc.Server {
	alive.Time, alive.Timeout = 30*time.Second, 10*time.Second
	opts := []grpc.ServerOption{
		grpc.Creds(creds),
		grpc.InTapHandle(stoppable),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(s.cfg.RequestLimit()), grpc.MaxSendMsgSize(maxAnswer),
		grpc.MaxConcurrentStreams(calls),
		grpc.NumStreamWorkers(workers),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(alive),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
	if s.tel.Traces() {
		opts = append(opts, grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(s.tel.Tracers),
			otelgrpc.WithMeterProvider(noop.NewMeterProvider()), otelgrpc.WithPropagators(s.tel.Propagator))))
	}
	return grpc.NewServer(opts...)
}

// GRPC is where services are registered.
func (s *Server) GRPC() grpc.ServiceRegistrar { return registrar{s} }

// Loopback is the connection by which the REST gateway of this process calls.
func (s *Server) Loopback() *grpc.ClientConn { return s.loop }

// Run serves until ctx ends; calls under way get 2 s to end.
func (s *Server) Run(ctx context.Context) error {
	var g run.Group
	add := func(server *grpc.Server, l net.Listener) {
		g.Add("serve "+l.Addr().String(), func(ctx context.Context) error { return serve(ctx, server, l) })
	}
	add(s.local, pipe{s.pipe})
	if s.cfg.GRPC != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.GRPC)
		if err != nil {
			return fmt.Errorf("listen.grpc: %w", err)
		}
		add(s.remote, s.cfg.Limited(l))
	}
	if s.cfg.Sockets != "" {
		l, err := ListenSocket(ctx, filepath.Join(s.cfg.Sockets, s.name+".grpc.sock"), s.cfg.SocketUIDs)
		if err != nil {
			return err
		}
		add(s.local, l)
	}
	return g.Run(ctx)
}

func serve(ctx context.Context, s *grpc.Server, l net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stopped := make(chan struct{})
	go func() { s.GracefulStop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(2 * time.Second):
		s.Stop()
	}
	if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// ListenSocket listens on a Unix socket of mode 0600 and lets in only peers whose user
// id is our own, root's or one of uids. A stale socket file is replaced.
func ListenSocket(ctx context.Context, path string, uids []int) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("stale socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen.sockets: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("listen.sockets: %w", errors.Join(err, l.Close()))
	}
	return &checked{Listener: l, uids: uids}, nil
}

// Name is the service's name, as in its sockets' file names.
func (s *Server) Name() string { return s.name }
