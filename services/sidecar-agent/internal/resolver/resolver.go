// Package resolver serves DNS on loopback, UDP and TCP. In: queries. Out: answers that
// package dns makes of the current table. It keeps no state of a query.
package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/dns"
)

// Limits of what clients can make the server keep.
const (
	maxQuery = 4096
	maxConns = 32
	idle     = 10 * time.Second // of a TCP connection between queries
)

// Server answers on one address.
type Server struct {
	table   func() *dns.Table
	log     *slog.Logger
	udp     *net.UDPConn
	tcp     *net.TCPListener
	turn    atomic.Uint32
	answers atomic.Int64
}

// Listen opens address, UDP and TCP at the same port. table returns the current one,
// nil before the first. Who calls Listen must Run what it returns.
func Listen(address netip.AddrPort, table func() *dns.Table, log *slog.Logger) (*Server, error) {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
	if err != nil {
		return nil, fmt.Errorf("DNS: %w", err)
	}
	at := tcp.Addr().(*net.TCPAddr).AddrPort()
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("DNS: %w", errors.Join(err, tcp.Close()))
	}
	return &Server{table: table, log: log, udp: udp, tcp: tcp}, nil
}

// Address returns where the server listens.
func (s *Server) Address() netip.AddrPort { return s.tcp.Addr().(*net.TCPAddr).AddrPort() }

// Answers returns how many queries were answered.
func (s *Server) Answers() int64 { return s.answers.Load() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _, _ = s.udp.Close(), s.tcp.Close() })
	defer stop()
	failed := make(chan error, 2) // one per socket
	all.Go(func() { failed <- s.serveUDP() })
	all.Go(func() { failed <- s.serveTCP(ctx) })
	err := <-failed
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("DNS: %w", err)
}

func (s *Server) serveUDP() error {
	b := make([]byte, maxQuery)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(b)
		if err != nil {
			return err // Run says of what
		}
		if a := s.answer(b[:n], dns.MaxUDP); a != nil {
			if _, err := s.udp.WriteToUDPAddrPort(a, from); err != nil {
				s.log.Debug("DNS answer", "to", from, "error", err)
			}
		}
	}
}

func (s *Server) answer(b []byte, limit int) []byte {
	a := dns.Answer(b, s.table(), limit, int(s.turn.Add(1)%(1<<16)))
	if a != nil {
		s.answers.Add(1)
	}
	return a
}

func (s *Server) serveTCP(ctx context.Context) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	free := make(chan struct{}, maxConns) // one per connection
	for {
		free <- struct{}{}
		conn, err := s.tcp.Accept()
		if err != nil {
			return err // Run says of what
		}
		conns.Go(func() {
			defer func() { <-free }()
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			s.converse(conn)
		})
	}
}

// converse answers queries in order until the client is done, idle, or wrong.
func (s *Server) converse(conn net.Conn) {
	var head [2]byte
	for {
		if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
			return
		}
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint16(head[:])
		if n > maxQuery {
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		a := s.answer(b, dns.MaxTCP)
		if a == nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}
