package natsbus

import (
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/bustest"
)

// embedded is a server of the kind that pilot embeds, on a loopback port that stays the
// same over restarts.
type embedded struct {
	dir string
	run *server.Server
	on  int
}

func (n *embedded) Start(t *testing.T) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: n.on, JetStream: true, StoreDir: n.dir, SyncAlways: true,
		NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats server does not start")
	}
	n.run = s
	n.on = s.Addr().(*net.TCPAddr).Port
}

func (n *embedded) Stop(*testing.T) {
	n.run.Shutdown()
	n.run.WaitForShutdown()
}

func (n *embedded) Wipe(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
}

func (n *embedded) Connect(t *testing.T, write bool) (bus.Source, bus.Sink) {
	t.Helper()
	c, err := Connect(Config{
		Servers: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(n.on))},
		Name:    t.Name(),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s, err := c.Store("config")
	if err != nil {
		t.Fatal(err)
	}
	if !write {
		return s, nil
	}
	return s, s
}

func open(t *testing.T) bustest.Server {
	t.Helper()
	n := &embedded{dir: t.TempDir(), on: -1}
	n.Start(t)
	t.Cleanup(func() { n.Stop(t) })
	return n
}

func TestSuite(t *testing.T) { bustest.Run(t, open) }
