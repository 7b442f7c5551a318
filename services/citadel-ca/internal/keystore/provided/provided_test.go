package provided

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/keystoretest"
)

// party is a certificate with its key.
type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func p256(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// under makes a certificate signed by parent, or by itself if that is nil.
func under(t *testing.T, parent *party, name string, key crypto.Signer, change func(*x509.Certificate)) *party {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local"}},
	}
	if change != nil {
		change(tmpl)
	}
	if parent == nil {
		parent = &party{tmpl, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &party{c, key}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func certs(t *testing.T, list ...*party) string {
	t.Helper()
	var b bytes.Buffer
	for _, p := range list {
		b.Write(issue.Encode(p.cert))
	}
	return write(t, "cert.pem", b.Bytes())
}

func keyFile(t *testing.T, k crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestSuite(t *testing.T) {
	for name, place := range map[string]func(t *testing.T) Config{
		"root": func(t *testing.T) Config {
			root := under(t, nil, "root", p256(t), nil)
			return Config{Certificate: certs(t, root), Key: keyFile(t, root.key)}
		},
		"RSA root": func(t *testing.T) Config {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			root := under(t, nil, "root", key, nil)
			return Config{Certificate: certs(t, root), Key: keyFile(t, root.key)}
		},
		"two below the root": func(t *testing.T) Config {
			root := under(t, nil, "root", p256(t), nil)
			mid := under(t, root, "between", p256(t), nil)
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			low := under(t, mid, "signing", key, nil)
			return Config{Certificate: certs(t, low), Key: keyFile(t, key), Chain: certs(t, mid), Roots: certs(t, root)}
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			keystoretest.Run(t, func(t *testing.T) keystoretest.Open {
				cfg := place(t)
				return func(_ context.Context, id spiffe.ID) (keystoretest.Store, error) { return Open(cfg, id, time.Now()) }
			})
		})
	}
}

func TestChainHasWhatIsBetweenLeafAndRootAndNoRoot(t *testing.T) {
	root := under(t, nil, "root", p256(t), nil)
	mid := under(t, root, "between", p256(t), nil)
	low := under(t, mid, "signing", p256(t), nil)
	stranger := under(t, nil, "stranger", p256(t), nil)
	for name, cfg := range map[string]Config{
		"in files of their own": {Certificate: certs(t, low), Chain: certs(t, mid), Roots: certs(t, root)},
		"in one file":           {Certificate: certs(t, low, mid, root), Roots: certs(t, root)},
		"in another order":      {Certificate: certs(t, low), Chain: certs(t, root, stranger, mid), Roots: certs(t, stranger, root)},
	} {
		cfg.Key = keyFile(t, low.key)
		s, err := Open(cfg, keystoretest.ID(t, "cluster.local"), time.Now())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		a := s.Authority()
		if got := a.ChainPEM(); !bytes.Equal(got, append(issue.Encode(low.cert), issue.Encode(mid.cert)...)) {
			t.Errorf("%s: chain is\n%s", name, got)
		}
		if !bytes.Contains(a.BundlePEM(), issue.Encode(root.cert)) {
			t.Errorf("%s: the bundle lacks the root", name)
		}
	}
}

func TestRefused(t *testing.T) {
	root := under(t, nil, "root", p256(t), nil)
	other := under(t, nil, "other", p256(t), nil)
	mid := under(t, root, "signing", p256(t), nil)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rooted := func(p *party) Config {
		return Config{Certificate: certs(t, p), Key: keyFile(t, p.key)}
	}
	below := func(change func(*x509.Certificate)) Config {
		r := under(t, nil, "root", p256(t), change)
		m := under(t, r, "signing", p256(t), nil)
		return Config{Certificate: certs(t, m), Key: keyFile(t, m.key), Roots: certs(t, r)}
	}
	open := keyFile(t, root.key)
	if err := os.Chmod(open, 0o644); err != nil { //nolint:gosec // too open on purpose
		t.Fatal(err)
	}
	self := func(change func(*x509.Certificate)) Config { return rooted(under(t, nil, "root", p256(t), change)) }
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"not CA":          {self(func(c *x509.Certificate) { c.IsCA = false }), "CA:TRUE"},
		"no keyCertSign":  {self(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), "keyCertSign"},
		"expired":         {self(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "expired at"},
		"not begun":       {self(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "not valid before"},
		"another domain":  {self(func(c *x509.Certificate) { c.URIs[0].Host = "example.org" }), "trust domain example.org"},
		"path length":     {below(func(c *x509.Certificate) { c.MaxPathLenZero = true }), "would not be trusted"},
		"name constraint": {self(func(c *x509.Certificate) { c.PermittedURIDomains = []string{"example.org"} }), "would not be trusted"},
		"key usage": {self(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }),
			"would not be trusted"},
		"another key":      {Config{Certificate: certs(t, root), Key: keyFile(t, other.key)}, "the key is not the one"},
		"another root":     {Config{Certificate: certs(t, mid), Key: keyFile(t, mid.key), Roots: certs(t, other)}, "does not lead to a given root"},
		"no root":          {Config{Certificate: certs(t, mid), Key: keyFile(t, mid.key)}, "its root must be given"},
		"root that is not": {Config{Certificate: certs(t, mid), Key: keyFile(t, mid.key), Roots: certs(t, mid)}, "is not a root"},
		"open key file":    {Config{Certificate: certs(t, root), Key: open}, "mode 0644"},
		"Ed25519":          {rooted(under(t, nil, "root", ed, nil)), "Ed25519"},
		"no certificate":   {Config{Certificate: filepath.Join(t.TempDir(), "absent"), Key: keyFile(t, root.key)}, "absent: no such file"},
		"rubbish":          {Config{Certificate: write(t, "x", []byte("rubbish")), Key: keyFile(t, root.key)}, "want certificates in PEM"},
		"key for certificate": {Config{Certificate: keyFile(t, root.key), Key: keyFile(t, root.key)},
			"a block PRIVATE KEY among certificates"},
		"no key":        {Config{Certificate: certs(t, root), Key: certs(t, root)}, "a block CERTIFICATE, want PRIVATE KEY"},
		"key rubbish":   {Config{Certificate: certs(t, root), Key: write(t, "x", []byte("rubbish"))}, "no private key in PEM"},
		"key encrypted": {Config{Certificate: certs(t, root), Key: write(t, "x", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY"}))}, "passphrase"},
		"key damaged":   {Config{Certificate: certs(t, root), Key: write(t, "x", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}))}, "damaged"},
	} {
		_, err := Open(c.cfg, keystoretest.ID(t, "cluster.local"), time.Now())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestKeyForms(t *testing.T) {
	root := under(t, nil, "root", p256(t), nil)
	ec, ok := root.key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("not an ECDSA key")
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)
	_, err = Open(Config{Certificate: certs(t, root), Key: write(t, "k", text)}, keystoretest.ID(t, "cluster.local"), time.Now())
	key, err2 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	r := under(t, nil, "root", key, nil)
	text = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if _, err := Open(Config{Certificate: certs(t, r), Key: write(t, "k", text)}, keystoretest.ID(t, "cluster.local"), time.Now()); err != nil {
		t.Errorf("PKCS #1: %v", err)
	}
}
