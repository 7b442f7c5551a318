package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// callStatus calls a method without arguments at an address behind a door, by mTLS with
// an identity or without a certificate. What is answered does not matter.
func callStatus(ctx context.Context, door *mesh.Door, address, method string, id *mesh.Identity) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(clientTLS(id))),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return door.Dial(ctx, "tcp", address) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
}

// hasLine says whether a text names one of two line numbers.
func hasLine(text string, numbers ...int) bool {
	for _, n := range numbers {
		for _, form := range []string{":%d:", "line %d", ":%d "} {
			if strings.Contains(text, fmt.Sprintf(form, n)) {
				return true
			}
		}
	}
	return false
}
