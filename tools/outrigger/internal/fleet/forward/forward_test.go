package forward_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/forward"
)

const patience = 10 * time.Second

// chain is a client's connection that goes by TCP, a Unix socket and TCP again
// to a server, as from the machine into the hub.
func chain(t *testing.T, serve func(net.Conn)) (client *net.TCPConn, stop func()) {
	t.Helper()
	server := listen(t, "tcp", "127.0.0.1:0")
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	middle := listen(t, "unix", filepath.Join(t.TempDir(), "s"))
	front := listen(t, "tcp", "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- door(t, middle, forward.To("tcp", server.Addr().String())).Run(ctx) }()
	go func() { done <- door(t, front, forward.To("unix", middle.Addr().String())).Run(ctx) }()
	stop = func() {
		cancel()
		for range cap(done) {
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("serve: %v", err)
				}
			case <-time.After(patience):
				t.Fatal("serve goes on after the end of its context")
			}
		}
	}
	conn, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn), stop
}

// door has few places and no trouble.
func door(t *testing.T, listener net.Listener, dial forward.Dial) forward.Door {
	return forward.Door{
		Listener: listener, Dial: dial, Places: 16,
		Open:    func() (net.Listener, error) { return nil, errors.New("there is one listener only") },
		Trouble: func(err error) { t.Errorf("trouble: %v", err) },
	}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func TestHalfCloseGoesThrough(t *testing.T) {
	// The server answers only after the client has said all.
	client, stop := chain(t, func(conn net.Conn) {
		defer conn.Close()
		said, err := io.ReadAll(conn)
		if err == nil {
			io.WriteString(conn, strings.ToUpper(string(said)))
		}
	})
	defer stop()
	message := strings.Repeat("all of it ", 100_000)
	go func() {
		io.WriteString(client, message)
		client.CloseWrite()
	}()
	answer, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	if string(answer) != strings.ToUpper(message) {
		t.Errorf("answer has %d bytes, want the %d that were sent, in capitals", len(answer), len(message))
	}
}

func TestEndOfContextClosesConnections(t *testing.T) {
	client, stop := chain(t, func(conn net.Conn) { io.WriteString(conn, "hello") })
	if _, err := io.ReadFull(client, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	stop()
	if n, err := client.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the end: read %d bytes, error %v; want a closed connection", n, err)
	}
}

func TestFarSideThatIsAwayClosesTheConnection(t *testing.T) {
	front := listen(t, "tcp", "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- door(t, front, forward.To("unix", filepath.Join(t.TempDir(), "none"))).Run(ctx)
	}()
	conn, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, error %v; want a closed connection", n, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}
