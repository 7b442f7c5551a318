// Package issue makes certificates. In: a Grant, the Authority's certificates and
// something that signs with its key. Out: a chain in PEM. It copies nothing of the
// request but its key, and never decides whether a certificate may be made.
//
// Source: RFC 5280, X.509-SVID sections 3 to 5.
package issue

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/policy"
)

// SerialBytes is how many random bytes Serial takes: 128 bits.
const SerialBytes = 16

// Serial makes a serial number of random bytes. It is never 0, which RFC 5280 forbids.
func Serial(random [SerialBytes]byte) *big.Int {
	n := new(big.Int).SetBytes(random[:])
	if n.Sign() == 0 {
		n.SetInt64(1)
	}
	return n
}

// Issued is a certificate that was made.
type Issued struct {
	Leaf *x509.Certificate
	// ChainPEM is the leaf and the intermediates above it, without a root.
	ChainPEM []byte
}

// Leaf makes the certificate of g. signer must hold the key of a's certificate: what
// it returns is verified before Leaf does. Errors of signer are wrapped.
func Leaf(g policy.Grant, a Authority, signer crypto.Signer, serial *big.Int) (Issued, error) {
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             g.NotBefore,
		NotAfter:              g.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{g.ID.URL()}, // critical, since there is no subject
	}, a.cert, g.Key, signer)
	if err != nil {
		return Issued{}, fmt.Errorf("sign certificate of %s: %w", g.ID, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Issued{}, fmt.Errorf("certificate of %s: %w", g.ID, err)
	}
	return Issued{Leaf: leaf, ChainPEM: append(Encode(leaf), a.chain...)}, nil
}

// RootLife is how long a root lives that the authority makes itself.
const RootLife = 10 * 365 * 24 * time.Hour

// Root makes a self-signed certificate for signer's key, valid from an hour before
// now for RootLife and bound to the trust domain by its URI.
func Root(domain string, signer crypto.Signer, serial *big.Int, now time.Time) (*x509.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-time.Hour).UTC().Truncate(time.Second),
		NotAfter:              now.Add(RootLife).UTC().Truncate(time.Second),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1, // room for the cross-signed certificate of a later root
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: domain}},
	}
	t.Subject.Organization = []string{"Outrigger"}
	t.Subject.CommonName = "Outrigger authority of " + domain
	der, err := x509.CreateCertificate(rand.Reader, t, t, signer.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign root certificate of %s: %w", domain, err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("root certificate of %s: %w", domain, err)
	}
	return c, nil
}
