package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// BodySize is the size of the server's answers, in bytes.
const BodySize = 1024

// Answer is what the server does: 200, with a body of BodySize bytes.
func Answer() http.Handler {
	body := bytes.Repeat([]byte("x"), BodySize)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{"text/plain"}
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
		_, _ = w.Write(body) // who asked may be gone
	})
}

// Serve serves HTTP until ctx ends.
func Serve(ctx context.Context, address string, handler http.Handler) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // Serve tells
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", address, err)
	}
	return nil
}

// Beside is an Envoy that runs for as long as the process beside it.
type Beside struct {
	Envoy  string // binary
	Config string // file
}

// Run runs Envoy as sidecars do, with one worker and in a session of its own, until ctx
// ends. (Linux may share the processors out between sessions.)
func (b Beside) Run(ctx context.Context) error {
	command := exec.CommandContext(ctx, b.Envoy, "--config-path", b.Config,
		"--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 5 * time.Second
	if err := command.Run(); ctx.Err() == nil {
		return fmt.Errorf("envoy ended: %w", errors.Join(err, errors.New("it must run on")))
	}
	return nil
}
