// Package pipenettest is a network of in-memory pipes for tests. Unlike loopback it stands still when everybody on it
// waits, so that a synctest bubble can let time pass.
package pipenettest

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Network connects those who dial a name with the one who listens on it. It is safe for concurrent use.
type Network struct {
	mu    sync.Mutex
	doors map[string]*listener
}

// New returns a network on which nobody listens.
func New() *Network { return &Network{doors: make(map[string]*listener)} }

// Listen takes the name, host:port. It panics if the name is taken.
func (n *Network) Listen(name string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.doors[name] != nil {
		panic("pipenettest: name is taken: " + name)
	}
	l := &listener{net: n, name: name, arrivals: make(chan net.Conn), closed: make(chan struct{})}
	n.doors[name] = l
	return l
}

// DialContext connects to the listener of that name. It fits http.Transport.
func (n *Network) DialContext(ctx context.Context, _, name string) (net.Conn, error) {
	n.mu.Lock()
	l := n.doors[name]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: nobody listens", name)
	}
	ours, theirs := net.Pipe()
	select {
	case l.arrivals <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial %s: listener is closed", name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type listener struct {
	net      *Network
	name     string
	arrivals chan net.Conn // capacity 0: a dial ends when it is accepted
	closed   chan struct{}
	once     sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.arrivals:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.doors, l.name)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.name) }

type addr string

func (a addr) Network() string { return "pipe" }
func (a addr) String() string  { return string(a) }
