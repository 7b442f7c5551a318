package natsd

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/bustest"
	"github.com/outrigger-mesh/outrigger/internal/bus/natsbus"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

const deadline = 20 * time.Second

// authority signs for any identity.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mesh"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) sign(id spiffe.ID, key crypto.PublicKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{id.URL()},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key, a.key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// source is the identity of a process, as production code has it.
func (a *authority) source(t *testing.T, id spiffe.ID) *identity.Local {
	t.Helper()
	src := identity.NewLocal(id, func(_ context.Context, key crypto.PublicKey) ([]byte, []byte, error) {
		chain, err := a.sign(id, key)
		return chain, a.pem, err
	}, slog.New(slog.DiscardHandler))
	run(t, src.Run)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, err := src.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return src
}

// files writes a certificate for id to disk.
func (a *authority) files(t *testing.T, id spiffe.ID) Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.sign(id, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	for name, data := range map[string][]byte{
		f.Cert: chain, f.CA: a.pem,
		f.Key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// run runs a part until the returned function, or the end of the test.
func run(t *testing.T, part func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() { left <- part(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-left:
			if err != nil {
				t.Errorf("ended with %v", err)
			}
		case <-time.After(deadline):
			t.Error("did not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

func id(t *testing.T, namespace, account string) spiffe.ID {
	t.Helper()
	i, err := spiffe.New("cluster.local", namespace, account)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// mesh is an embedded server and the identities of a fleet.
type mesh struct {
	ca                        *authority
	pilot, mixer, productpage spiffe.ID
	pilotIs, mixerIs          *identity.Local
	store                     string
	on                        string
	stop                      func()
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{
		ca:          newAuthority(t),
		pilot:       id(t, "outrigger-system", "pilot"),
		mixer:       id(t, "outrigger-system", "mixer"),
		productpage: id(t, "default", "bookinfo-productpage"),
		store:       filepath.Join(t.TempDir(), "nats"),
		on:          "127.0.0.1:0",
	}
	m.pilotIs, m.mixerIs = m.ca.source(t, m.pilot), m.ca.source(t, m.mixer)
	// A port that is free now: restarts must come back on the same one.
	l, err := net.Listen("tcp", m.on)
	if err != nil {
		t.Fatal(err)
	}
	m.on = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m.Start(t)
	return m
}

func (m *mesh) access() Access {
	return Access{Buckets: []string{"config", "registry"}, Writers: []spiffe.ID{m.pilot}, Readers: []spiffe.ID{m.mixer}}
}

func (m *mesh) Start(t *testing.T) {
	t.Helper()
	s, err := New(Config{
		Listen: m.on, StoreDir: m.store, TLS: m.pilotIs.ServerTLS(true), Access: m.access(),
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	m.stop = run(t, s.Run)
	select {
	case <-s.Ready():
	case <-time.After(deadline):
		t.Fatal("server does not get ready")
	}
}

func (m *mesh) Stop(*testing.T) { m.stop() }

func (m *mesh) Wipe(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(m.store); err != nil {
		t.Fatal(err)
	}
}

// Connect is pilot's connection for who writes, mixer's for who reads.
func (m *mesh) Connect(t *testing.T, write bool) (bus.Source, bus.Sink) {
	t.Helper()
	if write {
		s := m.hold(t, natsbus.Config{TLS: m.pilotIs.ClientTLS(m.pilot)}, "config")
		return s, s
	}
	return m.hold(t, natsbus.Config{TLS: m.mixerIs.ClientTLS(m.pilot), Reader: true}, "config"), nil
}

func (m *mesh) hold(t *testing.T, cfg natsbus.Config, bucket string) *natsbus.Store {
	t.Helper()
	cfg.Servers, cfg.Name = []string{m.on}, t.Name()
	c, err := natsbus.Connect(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s, err := c.Store(bucket)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// client is a plain NATS client, free to try what it may not.
type client struct {
	*nats.Conn
	errs chan error
}

func (m *mesh) client(t *testing.T, tls *tls.Config) (*client, error) {
	t.Helper()
	c := &client{errs: make(chan error, 100)}
	var err error
	c.Conn, err = nats.Connect("nats://"+m.on, nats.Secure(tls), nats.NoReconnect(), nats.Timeout(5*time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.errs <- err }))
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

func TestSuite(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bustest.Server { return newMesh(t) })
}
