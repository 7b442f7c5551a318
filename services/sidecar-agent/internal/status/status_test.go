package status_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/status"
)

type agent struct{}

func (agent) Report() status.Report { return status.Report{Proxy: "Envoy"} }
func (agent) Drain()                {}

// start serves on a port, beside a socket that a killed agent has left.
func start(t *testing.T) *status.Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "status.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := status.Listen(t.Context(), "127.0.0.1:0", path, agent{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
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

func TestAFloodOfConnectionsIsBoundedAndKeepsNobodyOut(t *testing.T) {
	s := start(t)
	var idle []net.Conn
	for range 300 {
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	client := &http.Client{Timeout: 3 * time.Second} // less than idle connections are kept
	res, err := client.Get("http://" + s.Address() + "/healthz")
	if err != nil {
		t.Fatalf("beside %d idle connections: %v", len(idle), err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "ok\n" {
		t.Errorf("healthz: %q, %v", text, err)
	}
	ended := 0
	for _, conn := range idle {
		if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			ended++
		}
	}
	if kept := len(idle) - ended; kept > 32 {
		t.Errorf("%d of %d idle connections are open, want 32 at most", kept, len(idle))
	}
}
