package citadelca_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	cav1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/ca/v1"
	citadelca "github.com/outrigger-mesh/outrigger/services/citadel-ca"
)

func id(t testing.TB, account string) spiffe.ID {
	t.Helper()
	id, err := spiffe.New("cluster.local", "default", account)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func authorityID(t testing.TB) spiffe.ID {
	t.Helper()
	id, err := spiffe.Parse("spiffe://cluster.local/ns/outrigger-system/sa/citadel-ca")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// config is for a service on loopback with a state folder of its own.
func config(t *testing.T) citadelca.Config {
	t.Helper()
	// Not t.TempDir: the path of a Unix socket has room for 107 characters.
	dir, err := os.MkdirTemp("", "citadel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	cfg := citadelca.DefaultConfig()
	cfg.State, cfg.Listen.Sockets = filepath.Join(dir, "state"), dir
	cfg.Telemetry.LogLevel = "error"
	cfg.Keystore.File.Create = true
	for _, addr := range []*string{&cfg.Listen.GRPC, &cfg.Listen.REST, &cfg.Listen.Ops} {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // for its port
		if err != nil {
			t.Fatal(err)
		}
		*addr = l.Addr().String()
		defer l.Close() //nolint:errcheck // nothing was accepted
	}
	return cfg
}

// service is a running citadel-ca.
type service struct {
	t    *testing.T
	cfg  citadelca.Config
	stop func() error // may be called again
}

// start runs the service and returns when it says that it is ready.
func start(t *testing.T, cfg citadelca.Config) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- citadelca.Run(ctx, cfg) }()
	s := &service{t: t, cfg: cfg}
	s.stop = func() error { cancel(); return <-done }
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("end of the service: %v", err)
		}
		close(done)
	})
	s.ready(func() error {
		select {
		case err := <-done:
			done <- nil
			return err
		default:
			return nil
		}
	})
	return s
}

// end stops the service before the test ends.
func (s *service) end() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Errorf("end of the service: %v", err)
	}
	s.stop = func() error { return nil }
}

// ready asks /readyz until it agrees; died says why that cannot come any more.
func (s *service) ready(died func() error) {
	s.t.Helper()
	end := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		code, body := s.ops("/readyz")
		if code == http.StatusOK {
			return
		}
		if err := died(); err != nil {
			s.t.Fatalf("the service ended: %v", err)
		}
		select {
		case <-end:
			s.t.Fatalf("not ready: %d %s", code, body)
		case <-tick.C:
		}
	}
}

// ops gets a path of the plain address; 0 and the error if nobody is there.
func (s *service) ops(path string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.cfg.Listen.Ops+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return do(http.DefaultClient, req)
}

func do(c *http.Client, req *http.Request) (int, string) {
	res, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

// admin is a client by the Unix socket.
func (s *service) admin() cav1.AuthorityServiceClient {
	s.t.Helper()
	conn, err := rpc.DialSocket(filepath.Join(s.cfg.Listen.Sockets, "citadel-ca.grpc.sock"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return cav1.NewAuthorityServiceClient(conn)
}

// proof is what a supervisor hands to a process: a fresh token and the bundle.
func (s *service) proof(id spiffe.ID) identity.Proof {
	s.t.Helper()
	admin := s.admin()
	token, err := admin.CreateJoinToken(s.t.Context(), &cav1.CreateJoinTokenRequest{Id: id.String()})
	if err != nil {
		s.t.Fatalf("join token: %v", err)
	}
	bundle, err := admin.GetBundle(s.t.Context(), &cav1.GetBundleRequest{})
	if err != nil {
		s.t.Fatalf("bundle: %v", err)
	}
	return identity.Proof{Token: token.GetToken(), ID: id.String(), Bundle: bundle.GetBundlePem()}
}

// once is a Prover that has one proof.
type once struct {
	identity.Proof
	given bool
}

func (o *once) Prove(context.Context) (identity.Proof, error) {
	if o.given {
		return identity.Proof{}, errors.New("a second proof was asked for")
	}
	o.given = true
	return o.Proof, nil
}

// source runs an identity.Source for id until the test ends, and returns it with its
// first certificate.
func (s *service) source(id spiffe.ID, ttl time.Duration) *identity.Source {
	s.t.Helper()
	src := identity.New(identity.Config{ID: id, Authority: "https://" + s.cfg.Listen.REST, AuthorityID: authorityID(s.t), TTL: ttl},
		&once{Proof: s.proof(id)}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	wait, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	if _, err := src.Wait(wait); err != nil {
		s.t.Fatalf("first certificate: %v", err)
	}
	return src
}

// anonymous is a client that knows the authority and shows no certificate.
func (s *service) anonymous() *http.Client {
	s.t.Helper()
	return client(&tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}) //nolint:gosec // what it sends is refused anyhow
}

func client(cfg *tls.Config) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
}

// post calls REST and returns status and body.
func (s *service) post(c *http.Client, path string, body any) (int, string) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "https://"+s.cfg.Listen.REST+path, bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return do(c, req)
}

// request is the body of POST /v1/certificates.
func request(t testing.TB, id spiffe.ID, token string) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}}, key)
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]string{"csrPem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
	if token != "" {
		body["joinToken"] = token
	}
	return body
}

// fingerprint of the authority's key, as its status has it.
func (s *service) fingerprint() string {
	s.t.Helper()
	st, err := s.admin().GetStatus(s.t.Context(), &cav1.GetStatusRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return st.GetKeyFingerprint()
}

func ended(t *testing.T, cfg citadelca.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, fmt.Errorf("still running"))
	defer cancel()
	return citadelca.Run(ctx, cfg)
}
