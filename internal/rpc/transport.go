package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/outrigger-mesh/outrigger/internal/identity"
)

// transport authenticates a connection by what it is: TLS, a Unix socket whose peer
// was checked at accept, or the gateway's pipe.
type transport struct {
	credentials.TransportCredentials // TLS
}

func newTransport(cfg *tls.Config) credentials.TransportCredentials {
	return &transport{credentials.NewTLS(cfg)}
}

// ServerHandshake implements credentials.TransportCredentials. What is neither a checked
// Unix connection nor the pipe must prove itself by TLS, and lasts no longer than the
// certificate that it showed.
func (t *transport) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	switch c.(type) {
	case *localConn:
		return c, localAuth{}, nil
	case *pipeConn:
		return c, gatewayAuth{}, nil
	}
	proven, info, err := t.TransportCredentials.ServerHandshake(c)
	if err != nil {
		return nil, nil, err
	}
	if a, ok := info.(credentials.TLSInfo); ok {
		proven = newMortal(proven, identity.PeerEnd(a.State.PeerCertificates))
	}
	return proven, info, nil
}

// mortal is a connection that is closed when the certificate ends with which it was
// opened: streams would go on without a proof, and the peer would not know that it has
// to show a newer one.
type mortal struct {
	net.Conn
	end *time.Timer
}

// newMortal closes c at end; the zero time is never.
func newMortal(c net.Conn, end time.Time) net.Conn {
	if end.IsZero() {
		return c
	}
	return &mortal{c, time.AfterFunc(time.Until(end), func() { _ = c.Close() })} // who reads or writes is told
}

// Close implements net.Conn.
func (m *mortal) Close() error {
	m.end.Stop()
	return m.Conn.Close()
}

// Clone implements credentials.TransportCredentials.
func (t *transport) Clone() credentials.TransportCredentials {
	return &transport{t.TransportCredentials.Clone()}
}

// localAuth marks a call by Unix socket.
type localAuth struct{}

// AuthType implements credentials.AuthInfo.
func (localAuth) AuthType() string { return "unix" }

// gatewayAuth marks a call by the REST gateway, which names the caller in metadata.
type gatewayAuth struct{}

// AuthType implements credentials.AuthInfo.
func (gatewayAuth) AuthType() string { return "gateway" }

// localConn is a Unix connection whose peer's user id is allowed.
type localConn struct{ net.Conn }

// checked lets only allowed users through.
type checked struct {
	net.Listener
	uids []int
}

// Accept closes connections of other users and goes on.
func (l *checked) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(c); err == nil && (uid == 0 || uid == os.Getuid() || slices.Contains(l.uids, uid)) {
			return &localConn{c}, nil
		}
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return nil, err
		}
	}
}

func peerUID(c net.Conn) (int, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%T has no peer user", c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	uid, inner := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		var cred *syscall.Ucred
		if cred, inner = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); inner == nil {
			uid = int(cred.Uid)
		}
	})
	return uid, errors.Join(err, inner)
}

// IsLocal reports whether c came in by a socket made with ListenSocket.
func IsLocal(c net.Conn) bool {
	_, ok := c.(*localConn)
	return ok
}

// pipe is the listener of this process's own gateway.
type pipe struct{ *bufconn.Listener }

// pipeConn is a connection from this process itself.
type pipeConn struct{ net.Conn }

// Accept marks what comes by the pipe.
func (p pipe) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &pipeConn{c}, nil
}

func dialPipe(l *bufconn.Listener) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///gateway",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
}
