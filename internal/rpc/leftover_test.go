package rpc_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
)

// objects on the heap that something refers to.
func objects() int64 {
	runtime.GC()
	runtime.GC() // what the first one only let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapObjects) //nolint:gosec // there are not so many
}

// The deadline of a refused call is years away, and it is anybody's to say.
func TestARefusedCallLeavesNothing(t *testing.T) {
	_, ca, address, _ := serve(t, rpc.Mesh)
	cfg := ca.Source("default", "nobody").ClientTLS(ca.Source("outrigger-system", "echo").Current().ID)
	cfg.GetClientCertificate = nil // shows none
	refused := func(n int) {
		conn, err := rpc.Dial(address, cfg)
		if err != nil {
			t.Fatal(err)
		}
		c := gatewayv1.NewGatewayServiceClient(conn)
		for range n {
			ctx, cancel := context.WithTimeout(t.Context(), 1e6*time.Hour)
			_, err := c.GetStatus(ctx, &gatewayv1.GetStatusRequest{}, grpc.WaitForReady(true))
			cancel()
			if status.Code(err) != codes.Unauthenticated {
				t.Fatal(err)
			}
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	refused(100) // what is made once
	const n = 2000
	before := objects()
	refused(n)
	// The server sees the end of the connection a moment after the client.
	late, tick := time.After(10*time.Second), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		left := objects() - before
		if left < n/2 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d refused calls leave %d objects", n, left)
		}
	}
}
