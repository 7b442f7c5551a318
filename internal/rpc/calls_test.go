package rpc_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

func TestCallsAreMeasured(t *testing.T) {
	tel := telemetry.Discard()
	s, err := rpc.NewServer("echo", rpc.Config{}, nil, nil, tel)
	if err != nil {
		t.Fatal(err)
	}
	gatewayv1.RegisterGatewayServiceServer(s.GRPC(), echo{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c := gatewayv1.NewGatewayServiceClient(s.Loopback())
	as := metadata.NewOutgoingContext(ctx, rpc.GatewayMetadata(rpc.Caller{Local: true}))
	call, end := context.WithTimeout(as, 10*time.Second)
	defer end()
	for range 3 {
		if _, err := c.GetStatus(call, &gatewayv1.GetStatusRequest{}, grpc.WaitForReady(true)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Drain(call, &gatewayv1.DrainRequest{}); err == nil {
		t.Fatal("a panic is no answer")
	}
	cancel()
	if err := <-done; err != nil { // all calls have ended then
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	tel.Metrics().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	text := answer.Body.String()
	const name = "rpc_server_call_duration_seconds_count{"
	for _, want := range []string{
		name + `rpc_method="outrigger.gateway.v1.GatewayService/GetStatus",rpc_response_status_code="OK",rpc_system_name="grpc"} 3`,
		name + `error_type="INTERNAL",rpc_method="outrigger.gateway.v1.GatewayService/Drain",rpc_response_status_code="INTERNAL",rpc_system_name="grpc"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
