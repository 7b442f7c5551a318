package rpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
)

// hold is a service whose one stream lasts until the caller or the connection goes.
var hold = grpc.ServiceDesc{ServiceName: "test.Hold", Streams: []grpc.StreamDesc{{
	StreamName: "Hold", ServerStreams: true,
	Handler: func(_ any, s grpc.ServerStream) error {
		if err := s.SendMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		<-s.Context().Done()
		return s.Context().Err()
	},
}}}

// held opens a stream and returns it when it stands.
func held(ctx context.Context, t *testing.T, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	stream, err := conn.NewStream(ctx, &hold.Streams[0], "/test.Hold/Hold", grpc.WaitForReady(true))
	if err == nil {
		err = stream.CloseSend()
	}
	if err == nil {
		err = stream.RecvMsg(&emptypb.Empty{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// once is cfg with the certificate of now for good, and its end.
func once(t *testing.T, cfg *tls.Config) (*tls.Config, time.Time) {
	t.Helper()
	own, err := cfg.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	return cfg, leaf.NotAfter
}

const short = 2 * time.Second

// Whoever does not renew is out when the certificate ends, whatever is open.
func TestAConnectionEndsWithItsCertificate(t *testing.T) {
	_, ca, address, _ := serve(t, rpc.Mesh)
	own := ca.Source("outrigger-system", "echo").Current().ID
	ca.Life = short
	cfg, end := once(t, ca.Source("outrigger-system", "admin").ClientTLS(own))
	conn, err := rpc.Dial(address, cfg)
	c := client(t, conn, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.GetStatus(ctx, &gatewayv1.GetStatusRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatalf("while it is valid: %v", err)
	}
	err = held(ctx, t, conn).RecvMsg(&emptypb.Empty{})
	if now := time.Now(); status.Code(err) != codes.Unavailable || now.Before(end) || now.After(end.Add(5*time.Second)) {
		t.Errorf("the stream ended %v after the certificate, with %v; want at its end, unavailable", now.Sub(end), err)
	}
	if _, err := c.GetStatus(ctx, &gatewayv1.GetStatusRequest{}); err == nil {
		t.Error("a call after the end is answered")
	}
}

// A client that renews goes on: each connection is made with the certificate of then.
func TestALongLivedClientConnectsWithItsNextCertificate(t *testing.T) {
	_, ca, address, _ := serve(t, rpc.Mesh)
	own := ca.Source("outrigger-system", "echo").Current().ID
	ca.Life = short
	source := ca.Source("default", "web")
	conn, err := rpc.Dial(address, source.ClientTLS(own))
	c := client(t, conn, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 2 {
		end := source.Current().NotAfter
		before := localAddress(ctx, t, c)
		<-time.After(time.Until(end.Add(100 * time.Millisecond)))
		if after := localAddress(ctx, t, c); after == before {
			t.Errorf("after the certificate's end the connection is still that of %s", after)
		}
	}
}

// A connection that has become old is left between two calls, and none of them fails.
func TestOldConnectionsAreLeft(t *testing.T) {
	_, ca, address, _ := serveAged(t, rpc.Mesh, 200*time.Millisecond)
	own := ca.Source("outrigger-system", "echo").Current().ID
	conn, err := rpc.Dial(address, ca.Source("default", "web").ClientTLS(own))
	c := client(t, conn, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for seen := map[string]bool{}; len(seen) < 4; {
		seen[localAddress(ctx, t, c)] = true
	}
}

// localAddress makes a call and returns from where.
func localAddress(ctx context.Context, t *testing.T, c gatewayv1.GatewayServiceClient) string {
	t.Helper()
	var p peer.Peer
	if _, err := c.GetStatus(ctx, &gatewayv1.GetStatusRequest{}, grpc.WaitForReady(true), grpc.Peer(&p)); err != nil {
		t.Fatal(err)
	}
	return p.LocalAddr.String()
}
