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

// unread is a call of which only the context is asked for.
type unread struct {
	grpc.ServerStream
	ctx context.Context
}

func (u unread) Context() context.Context { return u.ctx }

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
	for _, method := range []string{"/open", "/mesh", "/admin"} {
		for end, want := range map[time.Duration]codes.Code{time.Minute: codes.OK, -time.Second: codes.Unauthenticated} {
			var by Caller
			door := s.door(method, func(_ any, ss grpc.ServerStream) error {
				by = CallerFrom(ss.Context())
				return nil
			})
			err := door(nil, unread{ctx: called(t, id, time.Now().Add(end))})
			if status.Code(err) != want {
				t.Errorf("%s, certificate ends in %v: %v, want %v", method, end, err, want)
			}
			if err == nil && by.ID != id {
				t.Errorf("%s: the call is made by %v, want %v", method, by, id)
			}
		}
	}
}
