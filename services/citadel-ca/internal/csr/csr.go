// Package csr reads certificate signing requests. In: PEM from anybody. Out: the one
// SPIFFE ID that is asked for and the public key that proved itself by signing, and
// nothing else: subject, extensions and attributes of a request go no further than
// this package. It never decides whether the identity may be had.
//
// Source: RFC 2986, RFC 5280 section 4.2.1.6, X.509-SVID section 2.
package csr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"slices"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// MaxPEM bounds a request, in bytes.
const MaxPEM = 16 << 10

const (
	minRSABits = 2048
	maxRSABits = 8192 // a verification of more costs us more than it costs the sender
)

// Request is what a request asks for. Its key signed it.
type Request struct {
	ID  spiffe.ID
	Key crypto.PublicKey
}

// Parse reads one PEM block of type CERTIFICATE REQUEST. All errors are
// fault.Invalid: not exactly one block, a signature that does not verify or is made
// with SHA-1 or MD5, a key other than ECDSA P-256 or P-384, Ed25519 or RSA of 2048 to
// 8192 bits, and names other than one SPIFFE ID as a URI.
func Parse(text string) (Request, error) {
	if len(text) > MaxPEM {
		return Request{}, fault.Invalid.Errorf("csr: %d bytes, the limit is %d", len(text), MaxPEM)
	}
	blk, rest := pem.Decode([]byte(text))
	if blk == nil || blk.Type != "CERTIFICATE REQUEST" {
		return Request{}, fault.Invalid.Errorf("csr: want one PEM block CERTIFICATE REQUEST")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return Request{}, fault.Invalid.Errorf("csr: more than one PEM block")
	}
	r, err := x509.ParseCertificateRequest(blk.Bytes)
	if err != nil {
		return Request{}, fault.Invalid.Wrap(err, "csr")
	}
	if err := checkKey(r); err != nil {
		return Request{}, err
	}
	if err := r.CheckSignature(); err != nil {
		return Request{}, fault.Invalid.Wrap(err, "csr: signature")
	}
	id, err := identity(r)
	if err != nil {
		return Request{}, err
	}
	return Request{ID: id, Key: r.PublicKey}, nil
}

// strong lists the signature algorithms that a request may be signed with.
func strong() []x509.SignatureAlgorithm {
	return []x509.SignatureAlgorithm{
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	}
}

func checkKey(r *x509.CertificateRequest) error {
	if !slices.Contains(strong(), r.SignatureAlgorithm) {
		return fault.Invalid.Errorf("csr: signature algorithm %s is not accepted", r.SignatureAlgorithm)
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return fault.Invalid.Errorf("csr: ECDSA key on %s, want P-256 or P-384", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fault.Invalid.Errorf("csr: RSA key of %d bits, want %d to %d", n, minRSABits, maxRSABits)
		}
		if k.E < 65537 {
			return fault.Invalid.Errorf("csr: RSA exponent %d, want 65537 or more", k.E)
		}
	case ed25519.PublicKey:
	default:
		return fault.Invalid.Errorf("csr: key of type %s, want ECDSA, Ed25519 or RSA", r.PublicKeyAlgorithm)
	}
	return nil
}

// subjectAltName is the OID of the extension.
func subjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

// tagURI is the context tag of uniformResourceIdentifier in GeneralName.
const tagURI = 6

// identity reads the names itself, from the bytes: the parser of the standard library
// passes over kinds of names that it does not know, and normalises URIs.
func identity(r *x509.CertificateRequest) (spiffe.ID, error) {
	var san []byte
	for _, e := range r.Extensions {
		if !e.Id.Equal(subjectAltName()) {
			continue
		}
		if san != nil {
			return spiffe.ID{}, fault.Invalid.Errorf("csr: two subjectAltName extensions")
		}
		san = e.Value
	}
	var names []asn1.RawValue
	rest, err := asn1.Unmarshal(san, &names)
	if san == nil || err != nil || len(rest) > 0 {
		return spiffe.ID{}, fault.Invalid.Errorf("csr: want a subjectAltName with one URI, the SPIFFE ID")
	}
	if len(names) != 1 || names[0].Class != asn1.ClassContextSpecific || names[0].Tag != tagURI {
		return spiffe.ID{}, fault.Invalid.Errorf("csr: %d names, want one URI, the SPIFFE ID, and no other names", len(names))
	}
	id, err := spiffe.Parse(string(names[0].Bytes))
	if err != nil {
		return spiffe.ID{}, fault.Invalid.Wrap(err, "csr")
	}
	return id, nil
}
