package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Certificate is a workload's key, its chain and the roots it trusts. Immutable.
type Certificate struct {
	ID        spiffe.ID
	KeyPEM    []byte // EC PRIVATE KEY; secret
	ChainPEM  []byte // leaf first
	BundlePEM []byte
	NotBefore time.Time
	NotAfter  time.Time

	tls   tls.Certificate
	roots *x509.CertPool
}

// String keeps the key out of logs.
func (c *Certificate) String() string {
	return fmt.Sprintf("certificate of %s until %s", c.ID, c.NotAfter.UTC().Format(time.RFC3339))
}

// parse checks that key, chain and bundle belong together and are valid at now.
func parse(keyPEM, chainPEM, bundlePEM []byte, now time.Time) (*Certificate, error) {
	pair, err := tls.X509KeyPair(chainPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	leaf := pair.Leaf
	if leaf == nil {
		return nil, errors.New("certificate: no leaf")
	}
	id, err := spiffe.FromCertificate(leaf)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundlePEM) {
		return nil, errors.New("trust bundle has no certificate")
	}
	if err := verify(pair.Certificate, roots, now); err != nil {
		return nil, err
	}
	return &Certificate{
		ID: id, KeyPEM: keyPEM, ChainPEM: chainPEM, BundlePEM: bundlePEM,
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, tls: pair, roots: roots,
	}, nil
}

// verify checks a presented chain against roots, for either use.
func verify(der [][]byte, roots *x509.CertPool, now time.Time) error {
	if len(der) == 0 {
		return errors.New("no certificate")
	}
	leaf, err := x509.ParseCertificate(der[0])
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	between := x509.NewCertPool()
	for _, d := range der[1:] {
		c, err := x509.ParseCertificate(d)
		if err != nil {
			return fmt.Errorf("intermediate certificate: %w", err)
		}
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("certificate chain: %w", err)
	}
	return nil
}

// marshal is the form on disk: key, chain, then the bundle in blocks of a type of
// their own, so that one rename replaces all three.
func (c *Certificate) marshal() ([]byte, error) {
	var b bytes.Buffer
	b.Write(c.KeyPEM)
	b.Write(c.ChainPEM)
	for rest := c.BundlePEM; ; {
		var blk *pem.Block
		if blk, rest = pem.Decode(rest); blk == nil {
			return b.Bytes(), nil
		}
		blk.Type = bundleBlock
		if err := pem.Encode(&b, blk); err != nil {
			return nil, fmt.Errorf("encode bundle: %w", err)
		}
	}
}

const bundleBlock = "OUTRIGGER TRUST BUNDLE"

// unmarshal is the inverse of marshal.
func unmarshal(data []byte, now time.Time) (*Certificate, error) {
	var key, chain, bundle bytes.Buffer
	for {
		blk, rest := pem.Decode(data)
		if blk == nil {
			break
		}
		data = rest
		to := &key
		switch blk.Type {
		case "CERTIFICATE":
			to = &chain
		case bundleBlock:
			blk.Type, to = "CERTIFICATE", &bundle
		}
		if err := pem.Encode(to, blk); err != nil {
			return nil, fmt.Errorf("stored identity: %w", err)
		}
	}
	return parse(key.Bytes(), chain.Bytes(), bundle.Bytes(), now)
}

// renewAt is the moment to ask for the next certificate: half of its life, less up to
// a tenth of it by jitter (0 to 1), so that a fleet started at once does not renew at
// once.
func renewAt(notBefore, notAfter time.Time, jitter float64) time.Time {
	life := notAfter.Sub(notBefore)
	return notBefore.Add(life/2 - time.Duration(jitter*float64(life)/10))
}

func newKey(gen func() (*ecdsa.PrivateKey, error)) (*ecdsa.PrivateKey, []byte, error) {
	key, err := gen()
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
