package cli

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/front"
)

// knockTimeout bounds the first look at who is behind pilot's socket.
const knockTimeout = 2 * time.Second

// door connects to pilot's socket, if pilot is behind it.
func (c *connection) door(ctx context.Context, _ string) (net.Conn, error) {
	return front.Dial(ctx, c.state, "pilot.grpc.sock")
}

// knock finds out whether another than pilot is behind the socket, before anything is
// said to it. That nobody answers shows at the first call.
func (c *connection) knock() error {
	ctx, cancel := context.WithTimeout(context.Background(), knockTimeout)
	defer cancel()
	conn, err := c.door(ctx, "")
	if refusal := (*front.Refusal)(nil); errors.As(err, &refusal) {
		return err
	}
	if err == nil {
		conn.Close()
	}
	return nil
}
