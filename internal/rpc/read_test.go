package rpc

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

// takers is a service with a method that takes a request, and one that takes many.
var takers = grpc.ServiceDesc{
	ServiceName: "test.Takers", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "One",
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(&wrapperspb.BytesValue{}); err != nil {
				return nil, err
			}
			return &emptypb.Empty{}, ctx.Err()
		},
	}},
	Streams: []grpc.StreamDesc{{
		StreamName: "Many", ClientStreams: true,
		Handler: func(_ any, ss grpc.ServerStream) error {
			for range 2 {
				if err := ss.RecvMsg(&wrapperspb.BytesValue{}); err != nil {
					return err
				}
			}
			return ss.SendMsg(&emptypb.Empty{})
		},
	}},
}

// taking serves takers to everybody, and waits so long for the first message of a call.
func taking(t *testing.T, first time.Duration) *grpc.ClientConn {
	t.Helper()
	s, err := NewServer("takers", Config{}, nil, map[string]Access{oneMethod: Open, manyMethod: Open}, telemetry.Discard())
	if err != nil {
		t.Fatal(err)
	}
	s.first = first
	s.GRPC().RegisterService(&takers, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.loop
}

const oneMethod, manyMethod = "/test.Takers/One", "/test.Takers/Many"

func call(t *testing.T, conn *grpc.ClientConn, method string) grpc.ClientStream {
	t.Helper()
	late, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	stream, err := conn.NewStream(late, &grpc.StreamDesc{ClientStreams: true}, method, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// Who calls and sends nothing does not keep what is kept for a call.
func TestARequestMustCome(t *testing.T) {
	conn := taking(t, 20*time.Millisecond)
	for _, method := range []string{oneMethod, manyMethod} {
		if err := call(t, conn, method).RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.Canceled {
			t.Errorf("%s: %v, want the call's end", method, err)
		}
	}
}

// Later messages come when there is something to say.
func TestAStreamMayBeSilent(t *testing.T) {
	const first = 200 * time.Millisecond
	stream := call(t, taking(t, first), manyMethod)
	if err := stream.SendMsg(wrapperspb.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stream.Context().Done():
	case <-time.After(2 * first):
	}
	if err := stream.SendMsg(wrapperspb.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		t.Errorf("after a while without a message: %v", err)
	}
}

func TestLargeMessagesAreForAdministrators(t *testing.T) {
	conn := taking(t, 10*time.Second)
	admin := metadata.NewOutgoingContext(t.Context(), GatewayMetadata(Caller{Local: true}))
	for name, c := range map[string]struct {
		ctx  context.Context
		size int
		want codes.Code
	}{
		"what an administrator sends": {admin, meshMessage + 1, codes.OK},
		"too much of anybody":         {admin, maxMessage + 1, codes.ResourceExhausted},
		"what another one sends":      {t.Context(), meshMessage - 100, codes.OK},
		"too much of another one":     {t.Context(), meshMessage, codes.ResourceExhausted},
		"a little":                    {t.Context(), 1, codes.OK},
	} {
		err := conn.Invoke(c.ctx, oneMethod, wrapperspb.Bytes(make([]byte, c.size)), &emptypb.Empty{}, grpc.WaitForReady(true), grpc.MaxCallSendMsgSize(2*maxMessage))
		if status.Code(err) != c.want {
			t.Errorf("%s, %d bytes: %v, want %v", name, c.size, err, c.want)
		}
	}
}
