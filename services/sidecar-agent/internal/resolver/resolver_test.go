package resolver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/dns"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/resolver"
)

func start(t *testing.T, set ...func(*resolver.Server)) *resolver.Server {
	t.Helper()
	many := make([]netip.Addr, 200)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	table := dns.NewTable(map[string][]netip.Addr{
		"reviews.default.svc.cluster.local": many[:1], "big.default.svc.cluster.local": many,
	}, "cluster.local", "default")
	s, err := resolver.Listen(netip.MustParseAddrPort("127.0.0.1:0"), nil, func() *dns.Table { return table }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range set {
		set(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// The other side is Go's own resolver, which goes over to TCP when an answer is cut.
func TestAResolverGetsItsAnswers(t *testing.T) {
	s := start(t)
	var mu sync.Mutex // the resolver asks for A and AAAA at once
	var used []string
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		mu.Lock()
		used = append(used, network)
		mu.Unlock()
		var d net.Dialer
		return d.DialContext(ctx, network, s.Address().String())
	}}
	for name, want := range map[string]int{"reviews.": 1, "big.default.svc.cluster.local.": 200} {
		got, err := r.LookupHost(t.Context(), name)
		if err != nil || len(got) != want {
			t.Errorf("%s: %d addresses, %v, want %d", name, len(got), err, want)
		}
	}
	if !slices.Contains(used, "tcp") {
		t.Errorf("networks used: %q, want tcp too", used)
	}
	if n := s.Answers(); n < 3 {
		t.Errorf("%d answers counted", n)
	}
}

func TestATCPConnectionTakesManyQueriesAndNoLongOnes(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", s.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := exchange(conn); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	if _, err := conn.Write([]byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after a length of 65535: read %d, %v, want the connection's end", n, err)
	}
}

// exchange asks for an address, and reads the answer.
func exchange(conn net.Conn) error {
	if _, err := conn.Write([]byte("\x00\x19\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07reviews\x00\x00\x01\x00\x01")); err != nil {
		return err
	}
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	b := make([]byte, binary.BigEndian.Uint16(head[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	if b[0] != 0x12 || b[3]&15 != 0 {
		return fmt.Errorf("answer %x", b)
	}
	return nil
}

func dial(t *testing.T, s *resolver.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestIdleConnectionsMakeRoom(t *testing.T) {
	s := start(t, func(s *resolver.Server) { s.SetIdle(time.Hour) }) // nobody can wait for that
	used := dial(t, s)
	var idle []net.Conn
	for i := range 600 {
		idle = append(idle, dial(t, s))
		if i%8 > 0 {
			continue
		}
		// What is accepted last is answered last; and one that is of use stays.
		if err := errors.Join(exchange(dial(t, s)), exchange(used)); err != nil {
			t.Fatalf("new connection and one in use, beside %d idle ones: %v", i+1, err)
		}
	}
	if err := exchange(dial(t, s)); err != nil {
		t.Errorf("connection after 600 idle ones: %v", err)
	}
	if n, err := idle[0].Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("first of the idle connections: read %d, %v, want its end", n, err)
	}
}
