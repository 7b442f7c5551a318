package resolver

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/dns"
)

// What TCP clients can make the server keep: few connections, and none for long without
// a query (RFC 7766, 6.2.3).
const (
	maxConns = 32
	idle     = 3 * time.Second
)

// clients are the TCP connections, and when each of them was last answered.
type clients struct {
	free chan struct{} // capacity maxConns: one per connection, until it is closed

	mu   sync.Mutex
	last map[net.Conn]time.Time
}

func newClients() *clients {
	return &clients{free: make(chan struct{}, maxConns), last: map[net.Conn]time.Time{}}
}

// add notes a connection. If there are too many, the one that has gone without an answer
// for longest makes room: who only holds connections keeps nobody out.
func (c *clients) add(conn net.Conn, now time.Time) {
	select {
	case c.free <- struct{}{}:
	default:
		c.evict()
		c.free <- struct{}{} // as soon as who serves that one has left
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last[conn] = now
}

func (c *clients) evict() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var oldest net.Conn
	for conn, at := range c.last {
		if oldest == nil || at.Before(c.last[oldest]) {
			oldest = conn
		}
	}
	if oldest != nil { // else they are all leaving
		delete(c.last, oldest)
		_ = oldest.Close()
	}
}

// answered notes that a connection is of use, unless it was closed to make room.
func (c *clients) answered(conn net.Conn, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.last[conn]; ok {
		c.last[conn] = now
	}
}

func (c *clients) remove(conn net.Conn) {
	c.mu.Lock()
	delete(c.last, conn)
	c.mu.Unlock()
	_ = conn.Close()
	<-c.free
}

func (s *Server) serveTCP(ctx context.Context) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	all := newClients()
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return err // Run says of what
		}
		all.add(conn, time.Now())
		conns.Go(func() {
			defer all.remove(conn)
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			for s.converse(conn) {
				all.answered(conn, time.Now())
			}
		})
	}
}

// converse answers one query; false when the client is done, idle, or wrong.
func (s *Server) converse(conn net.Conn) bool {
	if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
		return false
	}
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return false
	}
	n := binary.BigEndian.Uint16(head[:])
	if n > maxQuery {
		return false
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		return false
	}
	a := s.answer(b, dns.MaxTCP)
	if a == nil {
		return false
	}
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
	return err == nil
}
