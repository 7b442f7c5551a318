package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

// called is the context of a call on a connection whose certificate ends at end.
func called(t *testing.T, id spiffe.ID, end time.Time) context.Context {
	t.Helper()
	leaf := &x509.Certificate{URIs: []*url.URL{id.URL()}, NotAfter: end}
	return peer.NewContext(t.Context(), &peer.Peer{
		Addr:     &net.TCPAddr{IP: net.IPv4(10, 77, 1, 1), Port: 1},
		AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}},
	})
}

// unserved is a stream of which only the context is asked for.
type unserved struct {
	grpc.ServerStream
	ctx context.Context
}

func (u unserved) Context() context.Context { return u.ctx }

// The connection may outlive its certificate by a moment: each call is looked at, those
// that anybody may make too, because the handler would believe the identity.
func TestACertificateThatHasEndedProvesNothing(t *testing.T) {
	id, err := spiffe.New("cluster.local", "outrigger-system", "admin")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer("x", Config{Admins: []string{id.String()}}, &tls.Config{MinVersion: tls.VersionTLS13}, map[string]Access{"/open": Open, "/mesh": Mesh}, telemetry.Discard())
	if err != nil {
		t.Fatal(err)
	}
	s.methods = map[string]bool{"/open": true, "/mesh": true, "/admin": true}
	for method := range s.methods {
		for end, want := range map[time.Duration]codes.Code{time.Minute: codes.OK, -time.Second: codes.Unauthenticated} {
			ctx, err := s.atTheDoor(called(t, id, time.Now().Add(end)), &tap.Info{FullMethodName: method})
			if status.Code(err) != want {
				t.Errorf("%s, certificate ends in %v: %v, want %v", method, end, err, want)
			}
			if err == nil && CallerFrom(ctx).ID != id {
				t.Errorf("%s: the call is made by %v, want %v", method, CallerFrom(ctx), id)
			}
		}
	}
}

func TestACallThatDidNotComeByTheDoorIsNotAnswered(t *testing.T) {
	s, err := NewServer("x", Config{}, &tls.Config{MinVersion: tls.VersionTLS13}, map[string]Access{"/open": Open}, telemetry.Discard())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/open"}, func(context.Context, any) (any, error) { return nil, nil })
	if status.Code(err) != codes.Internal {
		t.Errorf("a call: %v", err)
	}
	err = s.stream(nil, unserved{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: "/open"}, func(any, grpc.ServerStream) error { return nil })
	if status.Code(err) != codes.Internal {
		t.Errorf("a stream: %v", err)
	}
}
