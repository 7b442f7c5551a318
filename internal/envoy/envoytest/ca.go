// Package envoytest is what tests of a proxy's companions need: the Envoy binary, an
// authority that signs, and a pilot that says what the test wants said. The fakes are
// honest servers on loopback with real TLS; nothing here is for use outside of tests.
package envoytest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// CA signs mesh certificates with a root of its own.
type CA struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	root *x509.Certificate
	// Issued counts what was signed.
	Issued atomic.Int64
}

// NewCA makes a root.
func NewCA(t testing.TB) *CA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &CA{t: t, key: key, root: root}
}

// Bundle returns the root as PEM.
func (ca *CA) Bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})
}

// sign returns the chain, PEM, of a certificate of id for a key.
func (ca *CA) sign(id *url.URL, public any, life time.Duration) ([]byte, time.Time, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, time.Time{}, err
	}
	leaf := &x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{id},
		NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca.root, public, ca.key)
	ca.Issued.Add(1)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), leaf.NotAfter, err
}

// Issue makes a key and signs for id.
func (ca *CA) Issue(id spiffe.ID, life time.Duration) *identity.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	chain, notAfter, err := ca.sign(id.URL(), key.Public(), life)
	if err != nil {
		ca.t.Fatal(err)
	}
	return &identity.Certificate{
		ID: id, KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		ChainPEM: chain, BundlePEM: ca.Bundle(), NotAfter: notAfter,
	}
}

// ServerTLS returns settings of a server that is id and wants a certificate of this CA
// if any is shown; with required, always.
func (ca *CA) ServerTLS(id spiffe.ID, required bool) *tls.Config {
	ca.t.Helper()
	c := ca.Issue(id, time.Hour)
	pair, err := tls.X509KeyPair(c.ChainPEM, c.KeyPEM)
	if err != nil {
		ca.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	auth := tls.VerifyClientCertIfGiven
	if required {
		auth = tls.RequireAndVerifyClientCert
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: auth, MinVersion: tls.VersionTLS13}
}

// Authority serves citadel-ca's POST /v1/certificates as id and returns its address,
// "https://…". It takes any join token that is not empty, signs for the identity in the
// request, and gives certificates of the given life.
func (ca *CA) Authority(id spiffe.ID, life time.Duration) string {
	ca.t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req struct{ CSRPEM, JoinToken string }
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || (req.JoinToken == "" && len(r.TLS.PeerCertificates) == 0) {
			http.Error(w, `{"message":"no proof"}`, http.StatusUnauthorized)
			return
		}
		blk, _ := pem.Decode([]byte(req.CSRPEM))
		if blk == nil {
			http.Error(w, `{"message":"no PEM"}`, http.StatusBadRequest)
			return
		}
		csr, err := x509.ParseCertificateRequest(blk.Bytes)
		if err != nil || len(csr.URIs) != 1 {
			http.Error(w, `{"message":"bad request"}`, http.StatusBadRequest)
			return
		}
		chain, _, err := ca.sign(csr.URIs[0], csr.PublicKey, life)
		if err != nil {
			http.Error(w, `{"message":"sign"}`, http.StatusInternalServerError)
			return
		}
		var out bytes.Buffer
		_ = json.NewEncoder(&out).Encode(map[string]string{"chainPem": string(chain), "bundlePem": string(ca.Bundle())})
		_, _ = w.Write(out.Bytes())
	}))
	srv.TLS = ca.ServerTLS(id, false)
	srv.StartTLS()
	ca.t.Cleanup(srv.Close)
	return srv.URL
}
