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

// serveTCP answers on connections of which the one of least use makes room when there
// are too many: who only holds connections keeps nobody out.
func (s *Server) serveTCP(ctx context.Context) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return err // Run says of what
		}
		conns.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			for s.converse(conn) {
			}
		})
	}
}

// converse answers one query; false when the client is done, idle, or wrong.
func (s *Server) converse(conn net.Conn) bool {
	if err := conn.SetDeadline(time.Now().Add(s.idle)); err != nil {
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
