package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Ports of the services below, which the applications do not use.
const (
	oneTCPPort  = 7000 // behind one address
	eachTCPPort = 7001 // behind each workload's own
)

const tcpServices = `apiVersion: outrigger.dev/v1
kind: Service
metadata: {name: one-tcp, namespace: default}
spec:
  ports: [{name: tcp, number: 7000, protocol: TCP}]
  selector: {app: reviews}
---
apiVersion: outrigger.dev/v1
kind: Service
metadata: {name: each-tcp, namespace: default}
spec:
  ports: [{name: tcp, number: 7001, protocol: TCP}]
  selector: {app: reviews}
  headless: true
`

// TestTCP: what is not HTTP is carried by mTLS as it is, also when the server speaks
// first; a headless service's workload is reached by its own address.
func TestTCP(t *testing.T) {
	s := common(t)
	hosts := map[string]string{} // names of the servers' hosts by address
	for _, host := range must(s.Snapshot())(t).Hosts {
		if host.Service == "reviews" {
			hosts[host.Address] = host.Name
			s.greet(t, host.Name, oneTCPPort)
			s.greet(t, host.Name, eachTCPPort)
		}
	}
	s.applyLive(t, write(t, "tcp.yaml", tcpServices))
	w := s.listenIn(t, eachTCPPort)
	t.Run("one address", func(t *testing.T) {
		seen := map[string]bool{}
		eventually(t, 10*time.Second, func(ctx context.Context) error {
			found, err := s.addresses(ctx, "one-tcp.")
			if err != nil {
				return err
			}
			for _, address := range found {
				name, err := s.greeted(ctx, address, oneTCPPort)
				if err != nil {
					return err
				}
				seen[name] = true
			}
			if len(seen) != len(hosts) {
				return fmt.Errorf("connections should go to all of %v, went to %v", hosts, seen)
			}
			return nil
		})
	})
	t.Run("each address", func(t *testing.T) {
		eventually(t, 10*time.Second, func(ctx context.Context) error {
			found, err := s.addresses(ctx, "each-tcp.")
			if err == nil && len(found) != len(hosts) {
				err = fmt.Errorf("each-tcp has the addresses %v, want those of %v", found, hosts)
			}
			return err
		})
		for address, name := range hosts {
			for range len(hosts) { // more than chance would do
				if got := must(s.greeted(t.Context(), address, eachTCPPort))(t); got != name {
					t.Errorf("%s is %s and was answered by %s", address, name, got)
				}
			}
		}
		check(t, w.collect(t.Context(), 100*time.Millisecond))
		var servers []netip.Addr
		for address := range hosts {
			servers = append(servers, must(netip.ParseAddr(address))(t))
		}
		check(t, w.secret(servers...))
	})
}

// readable is a word that wire looks for.
const readable = "Shakespeare"

// greet serves on a host until the test ends: it says where it is, and then the same
// line that it is told.
func (s *site) greet(t *testing.T, host string, port int) {
	t.Helper()
	door := must(s.Door(host))(t)
	listener := must(door.Listen(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))))(t)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := fmt.Fprintln(conn, host); err != nil {
					return
				}
				_, _ = io.Copy(conn, conn) // until the caller has heard enough
			}()
		}
	}()
}

// greeted calls from the front of the application and returns who answered.
func (s *site) greeted(ctx context.Context, address string, port int) (string, error) {
	door, err := s.Door("productpage-v1")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := door.Dial(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	lines := bufio.NewReader(conn)
	name, err := lines.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("greeting of %s: %w", conn.RemoteAddr(), err)
	}
	if _, err := fmt.Fprintln(conn, readable); err != nil {
		return "", err
	}
	if echo, err := lines.ReadString('\n'); err != nil || echo != readable+"\n" {
		return "", fmt.Errorf("%s echoed %q: %w", name, echo, err)
	}
	return name[:len(name)-1], nil
}

// addresses asks for a name where the front of the application does.
func (s *site) addresses(ctx context.Context, name string) ([]string, error) {
	door, err := s.Door("productpage-v1")
	if err != nil {
		return nil, err
	}
	m, err := lookup(ctx, door, "udp", name, dnsmessage.TypeA)
	if err != nil {
		return nil, err
	}
	if m.RCode != dnsmessage.RCodeSuccess {
		return nil, fmt.Errorf("%s: %v", name, m.RCode)
	}
	return addresses(m), nil
}
