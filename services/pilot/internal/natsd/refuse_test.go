package natsd

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/natsbus"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

func TestWhoIsNotListedIsRefused(t *testing.T) {
	m := newMesh(t)
	stranger := newAuthority(t)
	naked := m.mixerIs.ClientTLS(m.pilot)
	naked.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	foreign := m.mixerIs.ClientTLS(m.pilot)
	foreign.GetClientCertificate = stranger.source(t, m.pilot).ClientTLS(m.pilot).GetClientCertificate
	// Under TLS 1.3 the client is done before the server has looked at its certificate;
	// the server's reason may be lost with the connection that it closes.
	const closed = "closed by remote after TLS handshake"
	for _, c := range []struct {
		name string
		tls  *tls.Config
		want string // in the client's error, if that is not closed
	}{
		{"no certificate", naked, "certificate"},
		{"pilot's name signed by another authority", foreign, "bad certificate"},
		{"mesh identity without rights", m.ca.source(t, m.productpage).ClientTLS(m.pilot), "Authorization Violation"},
	} {
		_, err := m.client(t, c.tls)
		if err == nil || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), closed) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
	if _, err := m.client(t, m.mixerIs.ClientTLS(m.pilot)); err != nil {
		t.Errorf("mixer is refused: %v", err)
	}
}

// TestClientMayComeFirst connects before the client has a certificate and before the
// server is there.
func TestClientMayComeFirst(t *testing.T) {
	t.Run("no certificate", func(t *testing.T) { comesFirst(t, false) })
	t.Run("no certificate and no server", func(t *testing.T) { comesFirst(t, true) })
}

func comesFirst(t *testing.T, stopped bool) {
	t.Helper()
	m := newMesh(t)
	m.filled(t)
	if stopped {
		m.Stop(t)
	}
	signs := make(chan struct{})
	src := identity.NewLocal(m.mixer, func(ctx context.Context, key crypto.PublicKey) ([]byte, []byte, error) {
		select {
		case <-signs:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		chain, err := m.ca.sign(m.mixer, key)
		return chain, m.ca.pem, err
	}, slog.New(slog.DiscardHandler))
	run(t, src.Run)
	r := bus.Open(bus.Config{Name: "config"}, m.hold(t, natsbus.Config{TLS: src.ClientTLS(m.pilot), Reader: true}, "config"), nil, slog.New(slog.DiscardHandler))
	got := make(chan bus.Change, 1)
	run(t, func(ctx context.Context) error { return r.Run(ctx, func(c bus.Change) { got <- c }) })
	if stopped {
		m.Start(t)
	}
	close(signs)
	select {
	case c := <-got:
		if !c.Reset || len(c.Entries) != 1 {
			t.Errorf("first change: %+v, want a reset with one object", c)
		}
	case <-time.After(deadline):
		t.Fatalf("does not connect: %+v", r.State())
	}
}

// TestPasswordsOpenNothing tries to be pilot with mixer's certificate.
func TestPasswordsOpenNothing(t *testing.T) {
	m := newMesh(t)
	c, err := nats.Connect("nats://"+m.on, nats.Secure(m.mixerIs.ClientTLS(m.pilot)), nats.NoReconnect(),
		nats.UserInfo(m.pilot.String(), ""), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return // refused outright is fine as well
	}
	defer c.Close()
	if err := c.Publish("$KV.config.Rule.default.a", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.FlushTimeout(deadline); err != nil {
		t.Fatal(err)
	}
	if err := c.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("mixer with pilot's user name: last error %v, want a permission violation", err)
	}
}

func rule(name string) *busv1.Envelope {
	return &busv1.Envelope{Object: &configv1.Object{
		Kind: "Rule", Metadata: &configv1.Metadata{Namespace: "default", Name: name},
	}}
}

// filled makes both buckets with one object each and returns what they look like.
func (m *mesh) filled(t *testing.T) func() map[string]bus.Info {
	t.Helper()
	looks := map[string]*natsbus.Store{}
	for _, name := range []string{"config", "registry"} {
		s := m.hold(t, natsbus.Config{TLS: m.pilotIs.ClientTLS(m.pilot)}, name)
		b := bus.Open(bus.Config{Name: name}, s, s, slog.New(slog.DiscardHandler))
		first := make(chan struct{})
		run(t, func(ctx context.Context) error {
			return b.Run(ctx, func(c bus.Change) {
				if len(c.Entries) == 0 {
					close(first)
				}
			})
		})
		select {
		case <-first:
		case <-time.After(deadline):
			t.Fatalf("bucket %s is not made: %+v", name, b.State())
		}
		if _, err := b.Apply(context.Background(), []bus.Write{{Envelope: rule("a")}}); err != nil {
			t.Fatal(err)
		}
		looks[name] = s
	}
	return func() map[string]bus.Info {
		t.Helper()
		infos := map[string]bus.Info{}
		for name, s := range looks {
			info, err := s.Look(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			infos[name] = info
		}
		return infos
	}
}

// TestReaderCannotChangeAnything lets mixer try all ways that a NATS client knows.
func TestReaderCannotChangeAnything(t *testing.T) {
	m := newMesh(t)
	look := m.filled(t)
	before := look()
	c, err := m.client(t, m.mixerIs.ClientTLS(m.pilot))
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		"$KV.config.Rule.default.a",
		"$KV.registry.Service.default.a",
		"$JS.API.STREAM.DELETE.KV_config",
		"$JS.API.STREAM.PURGE.KV_config",
		"$JS.API.STREAM.CREATE.mine",
		"$JS.API.STREAM.UPDATE.KV_config",
		"$JS.API.STREAM.MSG.DELETE.KV_config",
		"$JS.API.STREAM.SNAPSHOT.KV_config",
		"$JS.API.STREAM.RESTORE.KV_config",
		"$JS.API.CONSUMER.CREATE.KV_config.mine",
		"$JS.API.CONSUMER.DURABLE.CREATE.KV_config.mine",
		"$JS.API.STREAM.INFO.KV_config",
		"$JS.API.DIRECT.GET.KV_config",
		"$SYS.REQ.SERVER.PING",
		"$SYS.REQ.ACCOUNT.WRITERS.CONNZ",
		"outrigger.changed.config",
		"_INBOX.somebody",
		"anything",
	} {
		if err := c.PublishRequest(subject, c.NewInbox(), []byte("{}")); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		c.wantsViolation(t, "publish to "+subject)
	}
	for _, subject := range []string{"$KV.config.>", "$KV.>", ">", "$SYS.>", "$JS.>", "outrigger.>", "*.*.*"} {
		if _, err := c.SubscribeSync(subject); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		c.wantsViolation(t, "subscribe to "+subject)
	}
	if after := look(); after["config"] != before["config"] || after["registry"] != before["registry"] {
		t.Errorf("buckets were %+v and are %+v", before, after)
	}
}

func (c *client) wantsViolation(t *testing.T, what string) {
	t.Helper()
	select {
	case err := <-c.errs:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v, want a permission violation", what, err)
		}
	case <-time.After(deadline):
		t.Fatalf("%s: was not refused", what)
	}
}

// TestAnswersCannotBeSentIntoABucket names data subjects as the place for answers,
// which the server would write there itself.
func TestAnswersCannotBeSentIntoABucket(t *testing.T) {
	m := newMesh(t)
	look := m.filled(t)
	before := look()
	c, err := m.client(t, m.mixerIs.ClientTLS(m.pilot))
	if err != nil {
		t.Fatal(err)
	}
	for _, read := range natsbus.SubjectsOf("config").Read {
		for _, into := range []string{"$KV.registry.Rule.default.a", "$KV.config.Rule.default.stolen"} {
			if err := c.PublishRequest(read.Reader, into, []byte(`{"seq":1,"batch":10}`)); err != nil {
				t.Fatal(err)
			}
		}
		// The server takes a client's messages in order, so once this is answered the
		// others have been as well.
		if _, err := c.Request(read.Reader, []byte(`{"seq":1,"batch":10}`), deadline); err != nil {
			t.Fatalf("%s: %v", read.Reader, err)
		}
	}
	if after := look(); after["config"] != before["config"] || after["registry"] != before["registry"] {
		t.Errorf("buckets were %+v and are %+v", before, after)
	}
}

// TestWriterCannotReachBeyondItsBuckets shows that pilot's rights end there as well.
func TestWriterCannotReachBeyondItsBuckets(t *testing.T) {
	m := newMesh(t)
	c, err := m.client(t, m.pilotIs.ClientTLS(m.pilot))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(c.Conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "other", Subjects: []string{"other"}}); err == nil {
		t.Error("pilot made a stream that is no bucket")
	}
	c.wantsViolation(t, "another stream")
	for _, subject := range []string{"$JS.API.STREAM.PURGE.KV_config", "$JS.API.STREAM.MSG.DELETE.KV_config", "$SYS.REQ.SERVER.PING"} {
		if err := c.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		c.wantsViolation(t, "publish to "+subject)
	}
}

func TestPlainTextIsRefused(t *testing.T) {
	m := newMesh(t)
	c, err := nats.Connect("nats://"+m.on, nats.NoReconnect(), nats.Timeout(5*time.Second))
	if err == nil {
		c.Close()
		t.Fatal("connected without TLS")
	}
	conn, err := net.Dial("tcp", m.on)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // end of the test
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("CONNECT {}\r\nPUB $KV.config.Rule.default.a 0\r\n\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<16)
	for n := 0; ; {
		k, err := conn.Read(answer[n:])
		if n += k; strings.Contains(string(answer[:n]), "PONG") {
			t.Fatal("plain text client was served")
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("plain text client was not cut off")
			}
			return
		}
	}
}

func TestOnlyTheListenedPortIsOpen(t *testing.T) {
	m := newMesh(t)
	s, err := New(Config{
		Listen: "127.0.0.1:0", StoreDir: t.TempDir(), TLS: m.pilotIs.ServerTLS(true), Access: m.access(),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s.Run)
	select {
	case <-s.Ready():
	case <-time.After(deadline):
		t.Fatal("not ready")
	}
	defer stop()
	p := s.nats.PortsInfo(deadline)
	if p == nil || len(p.Nats) != 1 || len(p.Monitoring)+len(p.WebSocket)+len(p.Cluster)+len(p.Profile) > 0 {
		t.Errorf("ports %+v, want one for clients and no other", p)
	}
	if !s.nats.JetStreamConfig().SyncAlways {
		t.Error("writes are acknowledged before they are on disk")
	}
}

func TestBadSettingsAreRefused(t *testing.T) {
	m := newMesh(t)
	good := func() Config {
		return Config{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), TLS: m.pilotIs.ServerTLS(true), Access: m.access()}
	}
	for _, c := range []struct {
		name  string
		spoil func(*Config)
		want  string
	}{
		{"no TLS", func(c *Config) { c.TLS = nil }, "TLS"},
		{"certificates not demanded", func(c *Config) { c.TLS = m.pilotIs.ServerTLS(false) }, "demand"},
		{"certificates not verified", func(c *Config) { c.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} }, "verify"},
		{"listen address", func(c *Config) { c.Listen = "4222" }, "listen"},
		{"nobody writes", func(c *Config) { c.Writers = nil }, "write"},
		{"in both accounts", func(c *Config) { c.Readers = c.Writers }, "twice"},
	} {
		cfg := good()
		c.spoil(&cfg)
		if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func TestPortInUseEndsRun(t *testing.T) {
	m := newMesh(t)
	s, err := New(Config{
		Listen: m.on, StoreDir: t.TempDir(), TLS: m.pilotIs.ServerTLS(true), Access: m.access(),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), m.on) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("port in use: %v, want an error that names it", err)
	}
}
