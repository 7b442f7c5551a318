package issue

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/csr"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/policy"
)

const domain = "cluster.local"

func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func reviews(t *testing.T) spiffe.ID {
	t.Helper()
	id, err := spiffe.New(domain, "default", "reviews")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func root(t *testing.T, now time.Time) (Authority, *ecdsa.PrivateKey) {
	t.Helper()
	k := key(t)
	cert, err := Root(domain, k, big.NewInt(7), now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAuthority(domain, cert, nil, []*x509.Certificate{cert}, now)
	if err != nil {
		t.Fatal(err)
	}
	return a, k
}

// greedy asks for what no workload gets: to be an authority, for other uses, with a
// subject and an extension of its own.
func greedy(t *testing.T) csr.Request {
	t.Helper()
	ca, err := asn1.Marshal(struct{ CA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "root"},
		URIs:    []*url.URL{reviews(t).URL()},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: ca},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte{3, 2, 1, 6}},
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Value: []byte{5, 0}},
		},
	}, key(t))
	if err != nil {
		t.Fatal(err)
	}
	r, err := csr.Parse(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLeafHasWhatWeSayAndNothingOfTheRequest(t *testing.T) {
	now := time.Now()
	a, k := root(t, now)
	asked := greedy(t)
	g := policy.Grant{ID: asked.ID, Key: asked.Key, NotBefore: now.Add(-time.Minute).Truncate(time.Second), NotAfter: now.Add(time.Hour).Truncate(time.Second)}
	made, err := Leaf(g, a, k, Serial([SerialBytes]byte{0xff, 1}))
	if err != nil {
		t.Fatal(err)
	}
	c := made.Leaf
	if id, err := spiffe.FromCertificate(c); err != nil || id != g.ID {
		t.Errorf("identity %v, %v; want %s", id, err, g.ID)
	}
	if c.IsCA || !c.BasicConstraintsValid || c.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("CA %v, key usage %b; want a leaf that signs", c.IsCA, c.KeyUsage)
	}
	if d := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, c.ExtKeyUsage); d != "" {
		t.Errorf("extended key usage (-want +got)\n%s", d)
	}
	if len(c.Subject.Names) > 0 || len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses) > 0 {
		t.Errorf("subject %q, names %v", c.Subject, c.DNSNames)
	}
	if !c.NotBefore.Equal(g.NotBefore) || !c.NotAfter.Equal(g.NotAfter) || c.SerialNumber.BitLen() != 128 || !Same(c.PublicKey, g.Key) {
		t.Errorf("from %s to %s, serial %x", c.NotBefore, c.NotAfter, c.SerialNumber)
	}
	got := map[string]bool{} // extension to critical
	for _, e := range c.Extensions {
		got[e.Id.String()] = e.Critical
	}
	want := map[string]bool{"2.5.29.15": true, "2.5.29.37": false, "2.5.29.19": true, "2.5.29.35": false, "2.5.29.17": true}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("extensions and whether they are critical (-want +got)\n%s", d)
	}
	if got := string(made.ChainPEM); got != string(Encode(c)) {
		t.Errorf("chain below a root:\n%s", got)
	}
	if err := a.verify(made, now); err != nil {
		t.Error(err)
	}
}

// liar signs with another key than it shows.
type liar struct {
	crypto.Signer
	shown crypto.PublicKey
}

func (l liar) Public() crypto.PublicKey { return l.shown }

// dead cannot sign.
type dead struct{ crypto.Signer }

var errDead = errors.New("away")

func (dead) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errDead }

func TestTrial(t *testing.T) {
	now := time.Now()
	a, k := root(t, now)
	if err := Trial(a, reviews(t), k, now); err != nil {
		t.Errorf("good: %v", err)
	}
	if err := Trial(a, reviews(t), key(t), now); err == nil || !strings.Contains(err.Error(), "the key is not the one") {
		t.Errorf("another key: %v", err)
	}
	if err := Trial(a, reviews(t), liar{key(t), k.Public()}, now); err == nil {
		t.Error("a key that signs as another: no error")
	}
	if err := Trial(a, reviews(t), dead{k}, now); !errors.Is(err, errDead) {
		t.Errorf("a key that cannot sign: %v", err)
	}
}

func TestSerial(t *testing.T) {
	if got := Serial([SerialBytes]byte{}); got.Sign() != 1 {
		t.Errorf("serial of zeros is %d, want a positive number", got)
	}
	var all [SerialBytes]byte
	for i := range all {
		all[i] = 0xff
	}
	if got := Serial(all); got.BitLen() != 128 {
		t.Errorf("serial of %d bits, want 128", got.BitLen())
	}
}

func TestRootIsBoundToItsTrustDomain(t *testing.T) {
	now := time.Now()
	a, _ := root(t, now)
	c := a.Certificate()
	if len(c.URIs) != 1 || c.URIs[0].String() != "spiffe://cluster.local" {
		t.Errorf("URIs %v, want spiffe://cluster.local", c.URIs)
	}
	if got := a.Window().NotAfter.Sub(now).Round(time.Hour); got != RootLife {
		t.Errorf("lives %s, want %s", got, RootLife)
	}
	_, err := NewAuthority("example.org", c, nil, []*x509.Certificate{c}, now)
	if err == nil || !strings.Contains(err.Error(), "cluster.local, the configured one is example.org") {
		t.Errorf("for another trust domain: %v", err)
	}
	if _, err := NewAuthority(domain, c, nil, nil, now); err == nil || !strings.Contains(err.Error(), "no root") {
		t.Errorf("without roots: %v", err)
	}
}

func TestCertificatesTakesNothingElse(t *testing.T) {
	a, k := root(t, time.Now())
	good := Encode(a.Certificate())
	if got, err := Certificates(append(good, good...), "x"); err != nil || len(got) != 2 {
		t.Errorf("two: %d, %v", len(got), err)
	}
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing": "", "rubbish": "x", "tail": string(good) + "x",
		"key":     string(good) + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		"damaged": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})),
	} {
		if _, err := Certificates([]byte(text), "x.pem"); err == nil || !strings.HasPrefix(err.Error(), "x.pem: ") {
			t.Errorf("%s: got %v, want an error that names the file", name, err)
		}
	}
}
