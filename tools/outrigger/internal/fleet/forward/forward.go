// Package forward carries connections from one listener to another address, as
// between a Unix socket and a TCP port on the two sides of a namespace. In:
// accepted connections. Out: dialled ones. It never looks into the bytes; where
// the kernel can move them itself, it does.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Limits of one forwarder.
const (
	// MaxConnections are open at once; more wait in the listener's queue.
	MaxConnections = 1024
	dialTimeout    = 5 * time.Second
)

// Dial opens the far side of a connection.
type Dial func(ctx context.Context) (net.Conn, error)

// To returns a Dial for a fixed address.
func To(network, address string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		dialer := net.Dialer{Timeout: dialTimeout}
		return dialer.DialContext(ctx, network, address)
	}
}

// Serve accepts connections until ctx ends, then closes the listener and every
// connection and returns nil. A connection whose far side cannot be opened is
// closed. Half a connection that is closed is closed on the other side too,
// while the other half goes on.
func Serve(ctx context.Context, listener net.Listener, dial Dial) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	release := context.AfterFunc(ctx, func() { listener.Close() })
	defer release()

	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	places := make(chan struct{}, MaxConnections)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		near, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				near.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept at %s: %w", listener.Addr(), err)
		}
		open.Go(func() {
			defer func() { <-places }()
			carry(ctx, near, dial)
		})
	}
}

// carry moves bytes both ways until both have ended or one has failed.
func carry(ctx context.Context, near net.Conn, dial Dial) {
	defer near.Close()
	far, err := dial(ctx)
	if err != nil {
		return
	}
	defer far.Close()
	release := context.AfterFunc(ctx, func() {
		near.Close()
		far.Close()
	})
	defer release()

	ends := make(chan error, 2) // one for each direction
	go func() { ends <- pour(far, near) }()
	go func() { ends <- pour(near, far) }()
	for range 2 {
		if err := <-ends; err != nil {
			near.Close()
			far.Close()
		}
	}
}

// pour copies until the source ends and says so to the destination.
func pour(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if !ok {
		return errors.Join(err, to.Close())
	}
	return errors.Join(err, half.CloseWrite())
}
