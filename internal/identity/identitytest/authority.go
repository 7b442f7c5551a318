// Package identitytest is an authority in memory, for tests that need mesh identities:
// it speaks the same HTTP as citadel-ca to an identity.Source, takes every token but
// the empty one as a proof of what the request asks for, and refuses a token's second
// use. It never stands for citadel-ca in anything but tests.
package identitytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Authority signs for one trust domain.
type Authority struct {
	// URL is where an identity.Source asks.
	URL string
	// ID is the authority's own identity.
	ID spiffe.ID
	// Life of what is signed; settable before the first use.
	Life time.Duration

	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu   sync.Mutex
	used map[string]bool
}

// New starts an authority that ends with the test.
func New(t testing.TB, domain string) *Authority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key))
	a := &Authority{t: t, cert: must(x509.ParseCertificate(der)), key: key, Life: time.Hour, used: map[string]bool{}}
	a.ID = must(spiffe.New(domain, "outrigger-system", "citadel-ca"))
	own := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{
		{Certificate: [][]byte{a.sign(a.ID, own.Public())}, PrivateKey: own},
	}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	a.URL = srv.URL
	return a
}

// Bundle is the PEM text of the root.
func (a *Authority) Bundle() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// Source returns a running source that has its first certificate.
func (a *Authority) Source(namespace, account string) *identity.Source {
	a.t.Helper()
	id := must(spiffe.New(a.ID.TrustDomain(), namespace, account))
	s := identity.New(identity.Config{ID: id, Authority: a.URL, AuthorityID: a.ID}, a.Prover(id), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }() //nolint:errcheck // returns only ctx's end
	a.t.Cleanup(func() { cancel(); <-done })
	wait, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	if _, err := s.Wait(wait); err != nil {
		a.t.Fatalf("identity of %s: %v", id, err)
	}
	return s
}

// Prover hands out a new token for id at each call.
func (a *Authority) Prover(id spiffe.ID) identity.Prover { return &prover{a: a, id: id} }

type prover struct {
	a  *Authority
	id spiffe.ID
}

// Prove implements identity.Prover.
func (p *prover) Prove(context.Context) (identity.Proof, error) {
	return identity.Proof{Token: rand.Text(), ID: p.id.String(), Bundle: p.a.Bundle()}, nil
}

func (a *Authority) sign(id spiffe.ID, pub any) []byte {
	serial := must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))
	return must(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(a.Life),
		URIs: []*url.URL{id.URL()}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, pub, a.key))
}

func (a *Authority) serve(w http.ResponseWriter, r *http.Request) {
	var req struct {
		CSR   string `json:"csrPem"`
		Token string `json:"joinToken"`
	}
	refuse := func(why string) {
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(map[string]string{"message": why}) //nolint:errcheck // test client
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		refuse("not JSON")
		return
	}
	a.mu.Lock()
	used := a.used[req.Token]
	a.used[req.Token] = req.Token != ""
	a.mu.Unlock()
	if used || (req.Token == "" && len(r.TLS.PeerCertificates) == 0) {
		refuse("join token was used, or no proof")
		return
	}
	blk, _ := pem.Decode([]byte(req.CSR))
	if blk == nil {
		refuse("no certificate request")
		return
	}
	csr, err := x509.ParseCertificateRequest(blk.Bytes)
	if err != nil || len(csr.URIs) != 1 {
		refuse("bad certificate request")
		return
	}
	id := must(spiffe.Parse(csr.URIs[0].String()))
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.sign(id, csr.PublicKey)})
	json.NewEncoder(w).Encode(map[string]string{"chainPem": string(chain), "bundlePem": a.Bundle()}) //nolint:errcheck // test client
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // only inputs of our own making get here
	}
	return v
}
