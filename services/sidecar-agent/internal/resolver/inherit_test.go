package resolver_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/dns"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/resolver"
)

// serveVariable makes the test program an agent that serves DNS at the address it names.
const serveVariable = "TEST_SERVE_DNS"

func TestMain(m *testing.M) {
	if address := os.Getenv(serveVariable); address != "" {
		if err := serve(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve answers until it is killed, and starts a process that lives on, as Envoy does.
func serve(address string) error {
	inherited, err := resolver.Inherit()
	if err != nil {
		return err
	}
	table := dns.NewTable(map[string][]netip.Addr{
		"reviews.default.svc.cluster.local": {netip.AddrFrom4([4]byte{10, 0, 0, 1})},
	}, "cluster.local", "default")
	s, err := resolver.Listen(netip.MustParseAddrPort(address), inherited, func() *dns.Table { return table }, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	outlives := exec.Command("sh", "-c", `test -z "$LISTEN_FDS$LISTEN_PID$LISTEN_FDNAMES" && exec sleep 60`)
	if err := outlives.Start(); err != nil {
		return err
	}
	fmt.Println(outlives.Process.Pid)
	return s.Run(context.Background())
}

// pair opens UDP and TCP at one free port of loopback.
func pair(t *testing.T) (udp *net.UDPConn, tcp *net.TCPListener) {
	t.Helper()
	loopback := net.IPv4(127, 0, 0, 1)
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: loopback, Port: tcp.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close() })
	return udp, tcp
}

// filer is a socket that another process can have.
type filer interface{ File() (*os.File, error) }

func files(t *testing.T, sockets ...filer) []*os.File {
	t.Helper()
	var out []*os.File
	for _, s := range sockets {
		f, err := s.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		out = append(out, f)
	}
	return out
}

// agent starts a process that serves the sockets, and returns how to kill it.
func agent(t *testing.T, address string, sockets []*os.File) (kill func()) {
	t.Helper()
	// Only the process itself knows its number before it runs.
	c := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	c.Env = append(os.Environ(), serveVariable+"="+address, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES=dns:dns")
	c.ExtraFiles = sockets
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()         // by a signal
	}
	t.Cleanup(kill)
	var outlives int
	if _, err := fmt.Fscan(out, &outlives); err != nil {
		t.Fatalf("agent did not come up: %v", err)
	}
	t.Cleanup(func() {
		if p, err := os.FindProcess(outlives); err == nil {
			_ = p.Kill() // it may have ended
		}
	})
	return kill
}

// TestQueriesWaitForTheNextAgent: in sockets that somebody keeps, what is asked while no
// agent runs is answered by the next one; and what an agent leaves running has none of them.
func TestQueriesWaitForTheNextAgent(t *testing.T) {
	udp, tcp := pair(t)
	kept := files(t, udp, tcp)
	address := udp.LocalAddr().String()
	lookup := func() <-chan error {
		done := make(chan error, 2)
		for _, network := range []string{"udp", "tcp"} {
			r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, address)
			}}
			go func() {
				_, err := r.LookupHost(t.Context(), "reviews.")
				done <- err
			}()
		}
		return done
	}
	for range 2 {
		answers := lookup()
		select {
		case err := <-answers:
			t.Fatalf("without an agent: %v, want no answer yet", err)
		case <-time.After(50 * time.Millisecond): // asked by now
		}
		kill := agent(t, address, kept)
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Errorf("asked before the agent came: %v", err)
			}
		}
		kill()
	}
	for _, s := range []interface{ Close() error }{udp, tcp, kept[0], kept[1]} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a process that an agent left running listens")
	}
}

func TestInheritedSocketsAreThoseOfTheAddress(t *testing.T) {
	udp, tcp := pair(t)
	other, otherTCP := pair(t)
	address := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	notASocket, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files []*os.File
		want  string // "" for no error
	}{
		"both":            {files: files(t, tcp, udp)},
		"UDP elsewhere":   {files: files(t, other, tcp), want: other.LocalAddr().String()},
		"TCP elsewhere":   {files: files(t, udp, otherTCP), want: otherTCP.Addr().String()},
		"UDP twice":       {files: files(t, udp, tcp, udp), want: "want one for UDP and one for TCP at " + address.String()},
		"TCP twice":       {files: files(t, udp, tcp, tcp), want: "want one for UDP and one for TCP at " + address.String()},
		"not a socket":    {files: []*os.File{notASocket}, want: "neither UDP nor listening on TCP"},
		"the other taken": {files: files(t, udp), want: "address already in use"}, // by this test
	} {
		_, err := resolver.Listen(address, c.files, nil, slog.New(slog.DiscardHandler))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for _, f := range c.files {
			if err := f.Close(); err == nil {
				t.Errorf("%s: a file was left open", name)
			}
		}
	}
}

func TestSocketsForAnotherProcessAreLeft(t *testing.T) {
	for name, c := range map[string]struct{ pid, count, want string }{
		"none":            {},
		"for another one": {pid: "1", count: "2"},
		"for nobody":      {count: "2"},
		"too many":        {pid: fmt.Sprint(os.Getpid()), count: "100000", want: `LISTEN_FDS: want 0 to 16, got "100000"`},
		"no number":       {pid: fmt.Sprint(os.Getpid()), count: "-1", want: `LISTEN_FDS: want 0 to 16, got "-1"`},
	} {
		t.Setenv("LISTEN_PID", c.pid)
		t.Setenv("LISTEN_FDS", c.count)
		got, err := resolver.Inherit()
		if len(got) > 0 || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d files, %v, want none and %q", name, len(got), err, c.want)
		}
		if left := os.Getenv("LISTEN_PID") + os.Getenv("LISTEN_FDS"); left != "" {
			t.Errorf("%s: %q is left for processes to come", name, left)
		}
	}
}
