package rpc

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// connect is how soon a service that was away is looked for again: at the latest after
// a time that a lease outlasts.
var connect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
	MinConnectTimeout: 3 * time.Second,
}

// Dial returns a connection to host:port with the given TLS settings. It connects at
// the first call, and again after a loss, with the certificate that is current then. A
// server of this package asks for that every few hours, and ends a connection with the
// certificate that it was opened with, whatever is under way: who has shorter
// certificates and no call to lose makes a new connection for each.
func Dial(addr string, cfg *tls.Config, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return dial("dns:///"+addr, append(opts, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))...)
}

// DialSocket returns a connection to a service of this machine by its Unix socket.
func DialSocket(path string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return dial("unix://"+abs, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

func dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	opts = append(opts,
		grpc.WithConnectParams(connect),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}))
	c, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return c, nil
}
