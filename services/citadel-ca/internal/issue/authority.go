package issue

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/policy"
)

// Authority is an authority's certificates: the one that signs, those between it and
// a root, and the roots. It has no key. Immutable; make it with NewAuthority.
type Authority struct {
	cert          *x509.Certificate
	chain, bundle []byte // PEM
}

// NewAuthority checks that cert may sign workload certificates of the trust domain at
// now, and that it leads over between to one of roots. Extra certificates in between
// that are roots are left out of chains.
func NewAuthority(domain string, cert *x509.Certificate, between, roots []*x509.Certificate, now time.Time) (Authority, error) {
	if err := checkCA(cert, domain, now); err != nil {
		return Authority{}, err
	}
	if len(roots) == 0 {
		return Authority{}, errors.New("no root certificate")
	}
	path, err := pathToRoot(cert, between, roots, now)
	if err != nil {
		return Authority{}, err
	}
	a := Authority{cert: cert}
	for _, c := range path {
		if !contains(roots, c) {
			a.chain = append(a.chain, Encode(c)...)
		}
	}
	for _, c := range roots {
		a.bundle = append(a.bundle, Encode(c)...)
	}
	return a, nil
}

func checkCA(c *x509.Certificate, domain string, now time.Time) error {
	name := "authority certificate " + quote(c)
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return fmt.Errorf("%s is not one of an authority: it lacks CA:TRUE in basicConstraints", name)
	case c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s may not sign certificates: it lacks keyCertSign in keyUsage", name)
	case now.Before(c.NotBefore):
		return fmt.Errorf("%s is not valid before %s", name, c.NotBefore.UTC().Format(time.RFC3339))
	case !now.Before(c.NotAfter):
		return fmt.Errorf("%s expired at %s", name, c.NotAfter.UTC().Format(time.RFC3339))
	}
	return CheckDomain(c, domain)
}

// CheckDomain refuses an authority's certificate that is bound to another trust
// domain by a SPIFFE URI. One without such a URI is bound to none.
func CheckDomain(c *x509.Certificate, domain string) error {
	for _, u := range c.URIs {
		if u.Scheme == "spiffe" && u.Host != domain {
			return fmt.Errorf("authority certificate %s is of trust domain %s, the configured one is %s: "+
				"a change of trust domain needs a new authority and new certificates for all", quote(c), u.Host, domain)
		}
	}
	return nil
}

// pathToRoot returns cert and what stands above it, root last.
func pathToRoot(cert *x509.Certificate, between, roots []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	if contains(roots, cert) {
		return []*x509.Certificate{cert}, nil
	}
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range roots {
		opts.Roots.AddCert(c)
	}
	for _, c := range between {
		opts.Intermediates.AddCert(c)
	}
	paths, err := cert.Verify(opts)
	if err != nil {
		return nil, fmt.Errorf("authority certificate %s does not lead to a given root: %w", quote(cert), err)
	}
	return paths[0], nil
}

// Window is when the signing certificate is valid.
func (a Authority) Window() policy.Window {
	return policy.Window{NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter}
}

// Certificate is the one that signs. Not to be changed.
func (a Authority) Certificate() *x509.Certificate { return a.cert }

// ChainPEM is the signing certificate, unless it is a root, and those above it without
// the root: what follows a leaf.
func (a Authority) ChainPEM() []byte { return bytes.Clone(a.chain) }

// BundlePEM holds the roots to trust.
func (a Authority) BundlePEM() []byte { return bytes.Clone(a.bundle) }

// Fingerprint is the SHA-256 of the signing key's SubjectPublicKeyInfo, in hex.
func (a Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Holds reports whether key is the public half of the signing key.
func (a Authority) Holds(key crypto.PublicKey) bool { return Same(a.cert.PublicKey, key) }

// Same reports whether two public keys are equal.
func Same(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// Certificates reads the CERTIFICATE blocks of text, of which there must be at least
// one and nothing else. what names the text in errors.
func Certificates(text []byte, what string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		blk, rest := pem.Decode(text)
		if blk == nil {
			break
		}
		if blk.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: a block %s among certificates", what, blk.Type)
		}
		c, err := x509.ParseCertificate(blk.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", what, len(out)+1, err)
		}
		out, text = append(out, c), rest
	}
	if len(bytes.TrimSpace(text)) > 0 || len(out) == 0 {
		return nil, fmt.Errorf("%s: want certificates in PEM and nothing else", what)
	}
	return out, nil
}

// Encode returns c as PEM.
func Encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func contains(list []*x509.Certificate, c *x509.Certificate) bool {
	for _, o := range list {
		if o.Equal(c) {
			return true
		}
	}
	return false
}

func quote(c *x509.Certificate) string { return fmt.Sprintf("%q", c.Subject.String()) }
