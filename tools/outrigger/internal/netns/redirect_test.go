package netns_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/netns"
)

const (
	proxyUID  = 1337
	proxyMark = 0x539
)

var (
	hubAddress      = netip.MustParsePrefix("10.77.0.1/16")
	workloadAddress = netip.MustParseAddr("10.77.1.2")
	peerAddress     = netip.MustParseAddr("10.77.1.3")
)

var scenarios = map[string]func() error{
	"redirect": redirectScenario,
	"attach":   attachScenario,
}

func TestRedirectSendsConnectionsWhereTheyBelong(t *testing.T) { runScenario(t, "redirect") }

func TestAttachRefusesWrongAddresses(t *testing.T) { runScenario(t, "attach") }

// sender is the socket option or owner that tells who opened a connection.
type sender func(fd int) error

func application(int) error { return nil }

func proxyByMark(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, proxyMark)
}

func redirectScenario() error {
	hub, err := netns.NewHub(hubAddress)
	if err != nil {
		return err
	}
	defer hub.Close()
	workload, err := hub.Attach(workloadAddress)
	if err != nil {
		return err
	}
	peer, err := hub.Attach(peerAddress)
	if err != nil {
		return err
	}
	redirect := netns.Redirect{
		Inbound: 15006, Outbound: 15001,
		ExcludeInbound:  []netns.PortRange{{First: 15020, Last: 15029}, {First: 15090, Last: 15090}},
		ExcludeOutbound: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/32")},
		Proxy:           netns.Proxy{UID: proxyUID},
	}
	if asUser() {
		redirect.Proxy = netns.Proxy{Mark: proxyMark}
	}
	if err := redirect.Install(workload); err != nil {
		return err
	}
	listeners := []struct {
		space   *netns.Space
		address string
		says    string
	}{
		{workload, "0.0.0.0:15001", "outbound"},
		{workload, "0.0.0.0:15006", "inbound"},
		{workload, "0.0.0.0:9080", "application"},
		{workload, "0.0.0.0:15020", "agent"},
		{workload, "0.0.0.0:15029", "agent"},
		{workload, "0.0.0.0:15090", "agent"},
		{workload, "127.0.0.1:53", "dns"},
		{peer, "0.0.0.0:9080", "peer"},
		{hub.Space(), "10.77.0.1:4317", "hub"},
	}
	for _, l := range listeners {
		stop, err := serve(l.space, l.address, l.says)
		if err != nil {
			return fmt.Errorf("listen at %s: %w", l.address, err)
		}
		defer stop()
	}
	return checkConnections(workload, peer)
}

func checkConnections(workload, peer *netns.Space) error {
	none := netip.Addr{}
	cases := []struct {
		name  string
		from  *netns.Space
		proxy bool
		local netip.Addr
		to    string
		want  string
	}{
		{"peer to application", peer, false, none, "10.77.1.2:9080", "inbound"},
		{"peer to closed port", peer, false, none, "10.77.1.2:1", "inbound"},
		{"peer to first agent port", peer, false, none, "10.77.1.2:15020", "agent"},
		{"peer to last agent port", peer, false, none, "10.77.1.2:15029", "agent"},
		{"peer past the agent ports", peer, false, none, "10.77.1.2:15030", "inbound"},
		{"peer to metrics port", peer, false, none, "10.77.1.2:15090", "agent"},
		{"application to peer", workload, false, none, "10.77.1.3:9080", "outbound"},
		{"application to virtual address", workload, false, none, "10.78.0.5:80", "outbound"},
		{"application to hub", workload, false, none, "10.77.0.1:4317", "hub"},
		{"application to itself by address", workload, false, none, "10.77.1.2:9080", "application"},
		{"application to itself by loopback", workload, false, none, "127.0.0.1:9080", "application"},
		{"application to name server", workload, false, none, "127.0.0.1:53", "dns"},
		{"proxy to peer", workload, true, none, "10.77.1.3:9080", "peer"},
		{"proxy to own workload", workload, true, none, "10.77.1.2:9080", "inbound"},
		{"proxy to own metrics", workload, true, none, "10.77.1.2:15090", "agent"},
		{"proxy to application", workload, true, none, "127.0.0.1:9080", "application"},
		{"proxy hands over", workload, true, netns.HandoverSource, "10.77.1.2:9080", "application"},
	}
	var failures []error
	for _, c := range cases {
		got, err := ask(c.from, c.proxy, c.local, c.to)
		if err != nil || got != c.want {
			failures = append(failures, fmt.Errorf("%s (%s): got %q, error %v; want %q", c.name, c.to, got, err, c.want))
		}
	}
	return errors.Join(failures...)
}

func serve(space *netns.Space, address, says string) (stop func() error, err error) {
	var listener net.Listener
	err = space.Do(func() error {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, says)
			conn.Close()
		}
	}()
	return listener.Close, nil
}

// ask opens a connection as the proxy or as the application and returns what
// the listener at the other end says.
func ask(from *netns.Space, asProxy bool, local netip.Addr, to string) (answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = from.Do(func() error {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		if local.IsValid() {
			dialer.LocalAddr = &net.TCPAddr{IP: local.AsSlice()}
		}
		mark := sender(application)
		if asProxy && asUser() {
			mark = proxyByMark
		}
		dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) { failed = mark(int(fd)) })
			return errors.Join(err, failed)
		}
		if asProxy && !asUser() {
			// The owner of a socket is its maker's file system uid.
			unix.SetfsuidRetUid(proxyUID)
			defer unix.SetfsuidRetUid(0)
		}
		conn, err := dialer.DialContext(ctx, "tcp4", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		said, err := io.ReadAll(conn)
		answer = string(said)
		return err
	})
	return answer, err
}

func attachScenario() error {
	hub, err := netns.NewHub(hubAddress)
	if err != nil {
		return err
	}
	defer hub.Close()
	space, err := hub.Attach(workloadAddress)
	if err != nil {
		return err
	}
	defer space.Close()
	for _, address := range []netip.Addr{hubAddress.Addr(), workloadAddress, netip.MustParseAddr("10.99.0.1")} {
		if _, err := hub.Attach(address); err == nil {
			return fmt.Errorf("attach %v: no error", address)
		}
	}
	return nil
}
