package csr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

const reviews = "spiffe://cluster.local/ns/default/sa/reviews"

func key(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func uri(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func request(t testing.TB, k crypto.Signer, r x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &r, k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func sanExtension(t testing.TB, names ...asn1.RawValue) pkix.Extension {
	t.Helper()
	v, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: subjectAltName(), Value: v}
}

func name(tag int, constructed bool, text string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: constructed, Bytes: []byte(text)}
}

func TestAcceptedKeys(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for kind, k := range map[string]crypto.Signer{
		"P-256": key(t, elliptic.P256()), "P-384": key(t, elliptic.P384()), "Ed25519": ed, "RSA 2048": weak,
	} {
		got, err := Parse(request(t, k, x509.CertificateRequest{URIs: []*url.URL{uri(t, reviews)}}))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if got.ID.String() != reviews {
			t.Errorf("%s: ID %s, want %s", kind, got.ID, reviews)
		}
		if pub, ok := k.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(got.Key) {
			t.Errorf("%s: the key in the request is not the one that signed", kind)
		}
	}
}

func TestRefused(t *testing.T) {
	k := key(t, elliptic.P256())
	good := request(t, k, x509.CertificateRequest{URIs: []*url.URL{uri(t, reviews)}})
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // refused below
	if err != nil {
		t.Fatal(err)
	}
	with := func(e ...pkix.Extension) string {
		return request(t, k, x509.CertificateRequest{ExtraExtensions: e})
	}
	one := uri(t, reviews)
	for what, c := range map[string]struct{ in, want string }{
		"nothing":           {"", "want one PEM block"},
		"rubbish":           {"\x00\xff\x17", "want one PEM block"},
		"too long":          {good + strings.Repeat("\n", MaxPEM), "the limit is"},
		"two blocks":        {good + good, "more than one"},
		"another block":     {strings.ReplaceAll(good, "CERTIFICATE REQUEST", "CERTIFICATE"), "want one PEM block"},
		"P-224":             {request(t, key(t, elliptic.P224()), x509.CertificateRequest{URIs: []*url.URL{one}}), "P-224"},
		"P-521":             {request(t, key(t, elliptic.P521()), x509.CertificateRequest{URIs: []*url.URL{one}}), "P-521"},
		"RSA 1024":          {request(t, small, x509.CertificateRequest{URIs: []*url.URL{one}}), "1024 bits"},
		"no name":           {request(t, k, x509.CertificateRequest{}), "one URI"},
		"name in CN only":   {request(t, k, x509.CertificateRequest{Subject: pkix.Name{CommonName: reviews}}), "one URI"},
		"two URIs":          {request(t, k, x509.CertificateRequest{URIs: []*url.URL{one, one}}), "2 names"},
		"URI and DNS":       {request(t, k, x509.CertificateRequest{URIs: []*url.URL{one}, DNSNames: []string{"a"}}), "2 names"},
		"URI and IP":        {request(t, k, x509.CertificateRequest{URIs: []*url.URL{one}, IPAddresses: []net.IP{net.IPv4zero}}), "2 names"},
		"URI and mail":      {request(t, k, x509.CertificateRequest{URIs: []*url.URL{one}, EmailAddresses: []string{"a@b"}}), "2 names"},
		"DNS only":          {request(t, k, x509.CertificateRequest{DNSNames: []string{"reviews"}}), "one URI"},
		"URI and otherName": {with(sanExtension(t, name(tagURI, false, reviews), name(0, true, "\x06\x01\x2a\xa0\x02\x05\x00"))), "2 names"},
		"URI and directory": {with(sanExtension(t, name(tagURI, false, reviews), name(4, true, "\x30\x00"))), "2 names"},
		"URI and rid":       {with(sanExtension(t, name(tagURI, false, reviews), name(8, false, "\x2a\x03"))), "2 names"},
		"https":             {with(sanExtension(t, name(tagURI, false, "https://cluster.local/"))), "not a SPIFFE ID"},
		"escaped path":      {with(sanExtension(t, name(tagURI, false, "spiffe://cluster.local/ns/default/sa/re%76iews"))), "want letters"},
		"upper-case domain": {with(sanExtension(t, name(tagURI, false, "spiffe://Cluster.local/ns/default/sa/reviews"))), "trust domain"},
		"empty SAN":         {with(sanExtension(t)), "one URI"},
	} {
		_, err := Parse(c.in)
		if err == nil || fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v (%s), want an invalid one with %q", what, err, fault.Of(err), c.want)
		}
	}
}

func TestSignatureIsVerified(t *testing.T) {
	der, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{URIs: []*url.URL{uri(t, reviews)}}, key(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(der, []byte("reviews"), []byte("ratings"), 1)
	_, err = Parse(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: other})))
	if err == nil || !strings.Contains(err.Error(), "signature") {
		t.Errorf("changed name: got %v, want a refusal for its signature", err)
	}
}

func TestWeakDigestIsRefused(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	in := request(t, k, x509.CertificateRequest{URIs: []*url.URL{uri(t, reviews)}})
	blk, _ := pem.Decode([]byte(in))
	// sha256WithRSAEncryption ends in 0x0b, sha1WithRSAEncryption in 0x05.
	sha256RSA, sha1RSA := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b}, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x05}
	blk.Bytes = bytes.ReplaceAll(blk.Bytes, sha256RSA, sha1RSA)
	_, err = Parse(string(pem.EncodeToMemory(blk)))
	if err == nil || !strings.Contains(err.Error(), "SHA1-RSA is not accepted") {
		t.Errorf("SHA-1: got %v, want a refusal of the algorithm", err)
	}
}

// FuzzParse holds that whatever is accepted has an identity and a key, and that
// nothing makes the parser panic.
func FuzzParse(f *testing.F) {
	good := request(f, key(f, elliptic.P256()), x509.CertificateRequest{URIs: []*url.URL{uri(f, reviews)}})
	blk, _ := pem.Decode([]byte(good))
	f.Add(blk.Bytes)
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := Parse(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
		if err == nil && (r.ID.IsZero() || r.Key == nil) {
			t.Errorf("accepted without identity or key: %x", der)
		}
		if err != nil && fault.Of(err) != fault.Invalid {
			t.Errorf("%v: kind %s, want invalid", err, fault.Of(err))
		}
	})
}
