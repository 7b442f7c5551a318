package rpc_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
)

// A service that comes back is found soon: what is registered there has a lease of half
// a minute, and the usual pauses grow to two.
func TestAServiceThatIsAwayIsLookedForSoon(t *testing.T) {
	source := identitytest.New(t, "cluster.local").Source("default", "web")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const tries = 5
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	counted := make(chan int, 1)
	go func() {
		n := 0
		for ; n < tries; n++ {
			c, err := l.Accept()
			if err != nil {
				break
			}
			_ = c.Close() // as one that is not ready does
		}
		counted <- n
		cancel()
	}()
	connection, err := rpc.Dial(l.Addr().String(), source.ClientTLS(source.Current().ID))
	c := client(t, connection, err)
	if _, err := c.GetStatus(ctx, &gatewayv1.GetStatusRequest{}, grpc.WaitForReady(true)); err == nil {
		t.Error("nobody is there, and answers")
	}
	_ = l.Close()
	if n := <-counted; n < tries {
		t.Errorf("tried %d times in 6 s, want %d", n, tries)
	}
}
