package identity_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// handshake connects client to server over loopback and returns both errors. The
// client reads once: in TLS 1.3 it learns of a refusal only after its own handshake.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // end of test
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close() //nolint:errcheck // end of test
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: client}
	c, clientErr := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if clientErr == nil {
		defer c.Close() //nolint:errcheck // end of test
		_, clientErr = c.Read(make([]byte, 1))
	}
	return <-done, clientErr
}

func TestHandshakes(t *testing.T) {
	mesh, other := identitytest.New(t, "cluster.local"), identitytest.New(t, "other.example")
	same := identitytest.New(t, "cluster.local") // same domain, another root
	ratings, reviews := mesh.Source("default", "ratings"), mesh.Source("default", "reviews")
	ratingsID := ratings.Current().ID
	for name, c := range map[string]struct {
		server, client *tls.Config
		ok             bool
	}{
		"the identity that was meant":    {ratings.ServerTLS(true), reviews.ClientTLS(ratingsID), true},
		"another identity of the mesh":   {reviews.ServerTLS(true), ratings.ClientTLS(ratingsID), false},
		"no identity is meant":           {ratings.ServerTLS(true), reviews.ClientTLS(), false},
		"client of another trust domain": {ratings.ServerTLS(true), other.Source("default", "reviews").ClientTLS(ratingsID), false},
		"client of another root":         {ratings.ServerTLS(false), same.Source("default", "reviews").ClientTLS(ratingsID), false},
		"client without certificate":     {ratings.ServerTLS(true), &tls.Config{InsecureSkipVerify: true}, false},
		"client without, where it may":   {ratings.ServerTLS(false), &tls.Config{InsecureSkipVerify: true}, true},
	} {
		serverErr, clientErr := handshake(t, c.server, c.client)
		if ok := serverErr == nil && clientErr == nil; ok != c.ok {
			t.Errorf("%s: server %v, client %v; want success %v", name, serverErr, clientErr, c.ok)
		}
	}
}

func TestCertificateOutlivesTheProcess(t *testing.T) {
	mesh := identitytest.New(t, "cluster.local")
	id, err := spiffe.New("cluster.local", "default", "ratings")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "id")
	cfg := identity.Config{ID: id, Authority: mesh.URL, AuthorityID: mesh.ID, Dir: dir}
	first := start(t, cfg, mesh.Prover(id))
	info, err := os.Stat(filepath.Join(dir, "identity.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("stored identity: %v, %v; want mode 0600", info, err)
	}
	cfg.Authority = "https://127.0.0.1:1" // nobody there
	second := start(t, cfg, nil)
	if string(first.ChainPEM) != string(second.ChainPEM) {
		t.Error("the second process has another certificate than the first left")
	}
	if strings.Contains(first.String(), "KEY") {
		t.Error("the text of a certificate has its key")
	}
}

func TestShortCertificatesAreRenewed(t *testing.T) {
	mesh := identitytest.New(t, "cluster.local")
	mesh.Life = 2 * time.Second
	s := mesh.Source("default", "ratings")
	changed, first := s.Changed(), s.Current()
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatalf("not renewed; waiting for %q", s.Waiting())
	}
	if next := s.Current(); string(next.ChainPEM) == string(first.ChainPEM) {
		t.Errorf("the certificate is the same: %v", next)
	}
}

func TestWaitingSaysForWhat(t *testing.T) {
	id, err := spiffe.New("cluster.local", "default", "ratings")
	if err != nil {
		t.Fatal(err)
	}
	s := identity.New(identity.Config{ID: id, Authority: "https://127.0.0.1:1", AuthorityID: id}, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	go s.Run(ctx) //nolint:errcheck // returns only ctx's end
	for !strings.Contains(s.Waiting(), "join token") {
		if ctx.Err() != nil {
			t.Fatalf("waiting for %q, want a join token named", s.Waiting())
		}
	}
}

func start(t *testing.T, cfg identity.Config, p identity.Prover) *identity.Certificate {
	t.Helper()
	s := identity.New(cfg, p, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go s.Run(ctx) //nolint:errcheck // returns only ctx's end
	c, err := s.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
