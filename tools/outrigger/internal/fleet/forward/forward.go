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

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/accept"
)

const dialTimeout = 5 * time.Second

// Dial opens the far side of a connection.
type Dial func(ctx context.Context) (net.Conn, error)

// To returns a Dial for a fixed address.
func To(network, address string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		dialer := net.Dialer{Timeout: dialTimeout}
		return dialer.DialContext(ctx, network, address)
	}
}

// Door is a listener and where its connections go.
type Door struct {
	Listener net.Listener
	// Open makes another listener, after the one before has broken.
	Open func() (net.Listener, error)
	Dial Dial
	// Places is how many connections are open at once; see Places. When all are
	// taken, a new one gets the place of the one on which nothing has moved for
	// longest, if that is long enough (5 s, or 0.5 s if it was never used), else it
	// waits.
	Places int
	// Trouble is told what keeps the door from taking connections.
	Trouble func(error)
}

// reopen is the pause before a broken listener is opened again.
const reopen = time.Second

// Run accepts connections until ctx ends, then closes the listener and every
// connection and returns nil. A connection whose far side cannot be opened is
// closed. Half a connection that is closed is closed on the other side too,
// while the other half goes on. A listener that breaks is opened again; the
// connections that it has accepted go on.
func (d Door) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	taken := newSeats(d.Places)
	listener := d.Listener
	for {
		if listener != nil {
			if err := d.serve(ctx, listener, taken, &open); ctx.Err() == nil {
				d.Trouble(err)
			}
		}
		select {
		case <-time.After(reopen):
		case <-ctx.Done():
			return nil
		}
		var err error
		if listener, err = d.Open(); err != nil {
			listener = nil
			d.Trouble(fmt.Errorf("open again: %w", err))
		}
	}
}

// serve accepts until ctx ends or the listener breaks, and closes it.
func (d Door) serve(ctx context.Context, listener net.Listener, taken *seats, open *sync.WaitGroup) error {
	defer listener.Close()
	release := context.AfterFunc(ctx, func() { listener.Close() })
	defer release()
	patient := accept.New(ctx, listener, d.Trouble)
	for {
		near, err := patient.Accept()
		if err != nil {
			return fmt.Errorf("accept at %s: %w", listener.Addr(), err)
		}
		c, end := newConnection(ctx, near)
		if !taken.take(ctx, c) {
			end()
			near.Close()
			return ctx.Err()
		}
		open.Go(func() {
			defer taken.leave(c)
			defer end()
			c.carry(d.Dial)
		})
	}
}

// connection is one that was accepted and, after a while, its far side.
type connection struct {
	ctx    context.Context
	end    context.CancelFunc // closes both sides
	near   net.Conn
	opened time.Time

	mu  sync.Mutex
	far net.Conn // nil until it is dialled
}

func newConnection(ctx context.Context, near net.Conn) (*connection, context.CancelFunc) {
	ctx, end := context.WithCancel(ctx)
	return &connection{ctx: ctx, end: end, near: near, opened: time.Now()}, end
}

// carry moves bytes both ways until both have ended or one has failed.
func (c *connection) carry(dial Dial) {
	defer c.near.Close()
	far, err := dial(c.ctx)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	c.far = far
	c.mu.Unlock()
	release := context.AfterFunc(c.ctx, func() {
		c.near.Close()
		far.Close()
	})
	defer release()

	ends := make(chan error, 2) // one for each direction
	go func() { ends <- pour(far, c.near) }()
	go func() { ends <- pour(c.near, far) }()
	for range 2 {
		if err := <-ends; err != nil {
			c.near.Close()
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
