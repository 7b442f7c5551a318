// Package resolver serves DNS on loopback, UDP and TCP. In: queries. Out: answers that
// package dns makes of the current table. It keeps no state of a query.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/limit"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/dns"
)

// maxQuery is the longest query that is read, in bytes.
const maxQuery = 4096

// Server answers on one address.
type Server struct {
	table   func() *dns.Table
	log     *slog.Logger
	udp     *net.UDPConn
	tcp     net.Listener  // bounded
	idle    time.Duration // of a TCP connection without a query
	turn    atomic.Uint32
	answers atomic.Int64
}

// Listen opens address, UDP and TCP at the same port, or takes over such sockets if they
// are inherited; any other inherited one is an error. table returns the current one, nil
// before the first. Who calls Listen must Run what it returns.
func Listen(address netip.AddrPort, inherited []*os.File, table func() *dns.Table, log *slog.Logger) (*Server, error) {
	s, err := adopt(address, inherited)
	if err != nil {
		return nil, fmt.Errorf("DNS: %w", err)
	}
	if err := s.open(address); err != nil {
		return nil, fmt.Errorf("DNS: %w", errors.Join(err, s.close()))
	}
	return &Server{table: table, log: log, udp: s.udp, tcp: limit.New(s.tcp, maxConns, 0), idle: idle}, nil
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
