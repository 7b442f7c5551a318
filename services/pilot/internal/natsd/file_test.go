package natsd

import (
	"context"
	"crypto/tls"
	"flag"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/natsbus"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

var update = flag.Bool("update", false, "rewrite deploy/config/nats.conf")

const committed = "../../../../deploy/config/nats.conf"

// shipped are the settings of the committed file.
func shipped(t *testing.T) (listen, store string, files Files, a Access) {
	t.Helper()
	system := func(account string) spiffe.ID { return id(t, "outrigger-system", account) }
	return "10.77.0.1:4222", "/var/lib/outrigger/nats/store",
		Files{
			Cert: "/var/lib/outrigger/nats/cert.pem",
			Key:  "/var/lib/outrigger/nats/key.pem",
			CA:   "/var/lib/outrigger/nats/ca.pem",
		},
		Access{
			Buckets: []string{"config", "registry"},
			Writers: []spiffe.ID{system("pilot")},
			Readers: []spiffe.ID{system("mixer"), system("ingress"), system("egress")},
		}
}

func TestCommittedFileSaysTheSame(t *testing.T) {
	want, err := File(shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(committed, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("%s differs; rewrite it with -update (-want +got):\n%s", committed, d)
	}
}

// TestCommittedFileServes starts a server from the committed file, with only its
// address and paths replaced, and uses it as pilot, mixer and a stranger.
func TestCommittedFileServes(t *testing.T) {
	m := &mesh{ca: newAuthority(t)}
	_, _, _, access := shipped(t)
	m.pilot, m.mixer, m.productpage = access.Writers[0], access.Readers[0], id(t, "default", "bookinfo-productpage")
	nats := id(t, "outrigger-system", "nats")
	s := serveFile(t, m.ca.files(t, nats))
	m.on = net.JoinHostPort("127.0.0.1", portOf(t, s))
	m.pilotIs, m.mixerIs = m.ca.source(t, m.pilot), m.ca.source(t, m.mixer)
	m.writesAndReads(t, nats)
	if _, err := m.client(t, m.ca.source(t, m.productpage).ClientTLS(nats)); err == nil {
		t.Error("an identity that is not listed was let in")
	}
	if _, err := m.client(t, newAuthority(t).source(t, m.pilot).ClientTLS(nats)); err == nil {
		t.Error("pilot's name signed by another authority was let in")
	}
	c, err := m.client(t, m.mixerIs.ClientTLS(nats))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Publish("$KV.config.Rule.default.a", nil); err != nil {
		t.Fatal(err)
	}
	c.wantsViolation(t, "mixer's write")
}

// serveFile starts the committed file's server with a certificate of its own.
func serveFile(t *testing.T, own Files) *server.Server {
	t.Helper()
	listen, store, files, _ := shipped(t)
	text, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	mine := strings.NewReplacer(
		listen, "127.0.0.1:-1", store, t.TempDir(),
		files.Cert, own.Cert, files.Key, own.Key, files.CA, own.CA,
	).Replace(string(text))
	if err := os.WriteFile(file, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("the server's own loader refuses the file: %v", err)
	}
	if !o.SyncAlways || o.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert || !o.TLSMap || o.HTTPPort != 0 || o.Websocket.Port != 0 {
		t.Errorf("sync %v, client certificates %v, map %v, http %d, websocket %d",
			o.SyncAlways, o.TLSConfig.ClientAuth, o.TLSMap, o.HTTPPort, o.Websocket.Port)
	}
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(deadline) {
		t.Fatal("not ready")
	}
	return s
}

func portOf(t *testing.T, s *server.Server) string {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// writesAndReads sends one object from pilot to mixer.
func (m *mesh) writesAndReads(t *testing.T, server spiffe.ID) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ws := m.hold(t, natsbus.Config{TLS: m.pilotIs.ClientTLS(server)}, "config")
	w := bus.Open(bus.Config{Name: "config"}, ws, ws, log)
	open := make(chan struct{}, 100)
	run(t, func(ctx context.Context) error { return w.Run(ctx, func(bus.Change) { open <- struct{}{} }) })
	r := bus.Open(bus.Config{Name: "config"}, m.hold(t, natsbus.Config{TLS: m.mixerIs.ClientTLS(server), Reader: true}, "config"), nil, log)
	got := make(chan bus.Change, 100)
	run(t, func(ctx context.Context) error { return r.Run(ctx, func(c bus.Change) { got <- c }) })
	limit := time.After(deadline)
	select {
	case <-open:
	case <-limit:
		t.Fatalf("pilot cannot open the bucket: %+v", w.State())
	}
	rev, err := w.Apply(context.Background(), []bus.Write{{Envelope: rule("a")}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case c := <-got:
			if c.Revision == rev && len(c.Entries) == 1 && c.Entries[0].Key.Name == "a" {
				return
			}
		case <-limit:
			t.Fatalf("mixer did not get the object: %+v", r.State())
		}
	}
}
