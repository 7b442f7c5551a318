package citadelca_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	cav1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/ca/v1"
	citadelca "github.com/outrigger-mesh/outrigger/services/citadel-ca"
)

func TestFirstCertificateByTokenThenRenewalByCertificate(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	src := s.source(id(t, "reviews"), time.Minute)
	changed, first := src.Changed(), src.Current()
	if first.ID != id(t, "reviews") || time.Until(first.NotAfter) > time.Minute {
		t.Errorf("first: %v, want a minute for reviews", first)
	}
	// The source has no second proof: what comes at half life is by mTLS.
	select {
	case <-changed:
	case <-time.After(40 * time.Second):
		t.Fatalf("not renewed: waiting for %q", src.Waiting())
	}
	if second := src.Current(); !second.NotAfter.After(first.NotAfter) || second.ID != first.ID {
		t.Errorf("second: %v, want one that ends after %v", second, first)
	}
	if st, err := s.admin().GetStatus(t.Context(), nil); err != nil || st.GetIssued() != 3 { // its own, too
		t.Errorf("status %v, %v; want 3 issued", st, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	reviews, ratings := id(t, "reviews"), id(t, "ratings")
	token := s.proof(reviews).Token
	anybody, asReviews := s.anonymous(), client(s.source(reviews, 0).ClientTLS(authorityID(t)))
	for _, c := range []struct {
		what string
		by   *http.Client
		path string
		body any
		code int
		want string
	}{
		{"no proof", anybody, "/v1/certificates", request(t, reviews, ""), 401, "no proof of identity"},
		{"a guess", anybody, "/v1/certificates", request(t, reviews, strings.Repeat("ab", 8)+"."+strings.Repeat("A", 43)), 401, "not known here"},
		{"another identity by token", anybody, "/v1/certificates", request(t, ratings, token), 403, "asked for a certificate of"},
		{"the authority's own identity", anybody, "/v1/certificates", request(t, authorityID(t), token), 403, "asked for a certificate of"},
		{"first use", anybody, "/v1/certificates", request(t, reviews, token), 200, "CERTIFICATE"},
		{"second use", anybody, "/v1/certificates", request(t, reviews, token), 401, "used before"},
		{"used token with a certificate", asReviews, "/v1/certificates", request(t, reviews, token), 401, "used before"},
		{"another identity by certificate", asReviews, "/v1/certificates", request(t, ratings, ""), 403, "asked for a certificate of"},
		{"rubbish", asReviews, "/v1/certificates", map[string]string{"csrPem": "\x00\xff"}, 400, "csr"},
		{"unknown field", asReviews, "/v1/certificates", map[string]string{"isCA": "true"}, 400, "isCA"},
		{"too large", anybody, "/v1/certificates", map[string]string{"csrPem": strings.Repeat("A", 100<<10)}, 400, "too large"},
		{"a token for everybody", anybody, "/v1/jointokens", map[string]string{"id": reviews.String()}, 401, "show a mesh certificate"},
		{"a token for a workload", asReviews, "/v1/jointokens", map[string]string{"id": ratings.String()}, 403, "may not call this"},
	} {
		code, body := s.post(c.by, c.path, c.body)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: got %d %.300s, want %d with %q", c.what, code, body, c.code, c.want)
		}
		if secret := token[20:]; strings.Contains(body, secret) {
			t.Errorf("%s: the answer shows a token", c.what)
		}
	}
	conn, err := rpc.Dial(s.cfg.Listen.GRPC, s.source(ratings, 0).ClientTLS(authorityID(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // end of test
	byGRPC := cav1.NewAuthorityServiceClient(conn)
	if _, err := byGRPC.GetStatus(t.Context(), nil); status.Code(err) != codes.PermissionDenied {
		t.Errorf("status for a workload: %v, want permission denied", err)
	}
	if _, err := byGRPC.Sign(t.Context(), &cav1.SignRequest{CsrPem: strings.Repeat("A", 100<<10)}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("100 KiB by gRPC: %v, want resource exhausted", err)
	}
	if _, err := byGRPC.Sign(t.Context(), &cav1.SignRequest{CsrPem: request(t, ratings, "")["csrPem"]}); err != nil {
		t.Errorf("renewal by gRPC: %v", err)
	}
}

func TestWhoConnectsIsChecked(t *testing.T) {
	t.Parallel()
	a, b := start(t, config(t)), start(t, config(t)) // two authorities of one trust domain
	stranger := b.source(id(t, "reviews"), 0)
	cfg := stranger.ClientTLS(authorityID(t))
	cfg.VerifyConnection = nil // the stranger does not mind
	if code, body := a.post(client(cfg), "/v1/certificates", request(t, id(t, "reviews"), "")); code != 0 {
		t.Errorf("a certificate of another authority: got %d %s, want no connection", code, body)
	}
	if code, _ := a.post(client(stranger.ClientTLS(authorityID(t))), "/v1/certificates", request(t, id(t, "reviews"), "")); code != 0 {
		t.Errorf("the client took another authority for its own: %d", code)
	}
	old := a.anonymous()
	tr, ok := old.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	tr.TLSClientConfig.MinVersion, tr.TLSClientConfig.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if code, body := a.post(old, "/v1/certificates", nil); code != 0 || !strings.Contains(body, "protocol version") {
		t.Errorf("TLS 1.2: got %d %s, want no connection", code, body)
	}
}

func TestRestartKeepsTheAuthorityAndItsTokens(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	s := start(t, cfg)
	reviews := id(t, "reviews")
	before := s.fingerprint()
	used, unused := s.proof(reviews), s.proof(reviews)
	if code, body := s.post(s.anonymous(), "/v1/certificates", request(t, reviews, used.Token)); code != 200 {
		t.Fatalf("first use: %d %s", code, body)
	}
	certified := s.source(reviews, 0)
	s.end()

	other := cfg
	other.TrustDomain = "example.org"
	if err := ended(t, other); err == nil || !strings.Contains(err.Error(), "cluster.local") || !strings.Contains(err.Error(), "example.org") {
		t.Errorf("another trust domain: %v, want a refusal that names both", err)
	}

	s = start(t, cfg)
	if after := s.fingerprint(); after != before {
		t.Errorf("key %s after the restart, %s before", after, before)
	}
	if got := s.proof(reviews).Bundle; got != used.Bundle {
		t.Error("the trust bundle is another after the restart")
	}
	if code, body := s.post(s.anonymous(), "/v1/certificates", request(t, reviews, used.Token)); code != 401 || !strings.Contains(body, "used before") {
		t.Errorf("a token used before the restart: %d %s", code, body)
	}
	if code, body := s.post(s.anonymous(), "/v1/certificates", request(t, reviews, unused.Token)); code != 200 {
		t.Errorf("a token not used before the restart: %d %s", code, body)
	}
	if code, body := s.post(client(certified.ClientTLS(authorityID(t))), "/v1/certificates", request(t, reviews, "")); code != 200 {
		t.Errorf("renewal by a certificate from before the restart: %d %s", code, body)
	}
}

func TestOperations(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	s.source(id(t, "reviews"), 0)
	s.post(s.anonymous(), "/v1/certificates", request(t, id(t, "reviews"), ""))
	if code, body := s.ops("/healthz"); code != 200 {
		t.Errorf("/healthz: %d %s", code, body)
	}
	code, body := s.ops("/metrics")
	for _, want := range []string{`citadel_certificates_issued_total{proof="token"} 1`, `citadel_certificates_issued_total{proof="itself"} 1`,
		`citadel_certificates_refused_total{reason="unauthenticated"} 1`, "citadel_authority_expiry_seconds", "citadel_signing_duration_seconds_count"} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("/metrics: %d, lacks %s", code, want)
		}
	}
	for path, want := range map[string]string{"/openapi.json": "/v1/certificates", "/v1/bundle": "BEGIN CERTIFICATE"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.cfg.Listen.REST+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if code, body := do(s.anonymous(), req); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200s, want %q", path, code, body, want)
		}
	}
	if err := ended(t, s.cfg); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second one on the same folder: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*citadelca.Config){
		"trust domain \"Cluster\"":         func(c *citadelca.Config) { c.TrustDomain = "Cluster" },
		"is not of trustDomain":            func(c *citadelca.Config) { c.ID = "spiffe://example.org/ns/a/sa/b" },
		"ttl 1s: want 1m0s":                func(c *citadelca.Config) { c.TTL = time.Second },
		"state: a folder must be given":    func(c *citadelca.Config) { c.State = "" },
		"limit: rate 0":                    func(c *citadelca.Config) { c.Limit.Rate = 0 },
		"keystore.kind \"paper\"":          func(c *citadelca.Config) { c.Keystore.Kind = "paper" },
		"either passphraseFile or keyFile": func(c *citadelca.Config) { c.Keystore.File.Create = false },
		"keystore.vault.address":           func(c *citadelca.Config) { c.Keystore.Kind = "vault" },
		"listen.admins":                    func(c *citadelca.Config) { c.Listen.Admins = []string{"me"} },
	} {
		cfg := config(t)
		change(&cfg)
		if err := ended(t, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	cfg := config(t)
	cfg.TTL, cfg.State = 0, ""
	if err := ended(t, cfg); err == nil || !strings.Contains(err.Error(), "ttl") || !strings.Contains(err.Error(), "state") {
		t.Errorf("two mistakes: %v, want both", err)
	}
}

func TestTheConfigFileThatWeShip(t *testing.T) {
	t.Parallel()
	cfg, err := conf.Load(citadelca.Name, "", []string{"--config", "../../deploy/config/citadel-ca.yaml"}, citadelca.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	own, err := spiffe.Parse(cfg.Listen.Admins[0])
	if err != nil || own.TrustDomain() != cfg.TrustDomain {
		t.Errorf("admins %v: %v", cfg.Listen.Admins, err)
	}
	if cfg.Listen.REST != "10.77.0.1:15021" || cfg.Listen.GRPC != "10.77.0.1:15020" || cfg.Listen.Ops != "10.77.0.1:15024" || !cfg.Keystore.File.Create {
		t.Errorf("got %+v", cfg)
	}
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("keystore:\n  king: file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := conf.Load(citadelca.Name, "", []string{"--config", path}, citadelca.DefaultConfig()); err == nil || !strings.Contains(err.Error(), `c.yaml:2: unknown key "king"`) {
		t.Errorf("unknown key: %v", err)
	}
}
