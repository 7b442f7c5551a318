package issue

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/policy"
)

// Trial makes a certificate that nobody gets and verifies it as a peer would. It
// finds what only a signature shows: a key that is not the certificate's, and a path
// length, name constraint or extended key usage on the way to the root that forbids
// workload certificates. Errors of signer are wrapped.
func Trial(a Authority, id spiffe.ID, signer crypto.Signer, now time.Time) error {
	if !a.Holds(signer.Public()) {
		return fmt.Errorf("the key is not the one of authority certificate %s", quote(a.cert))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("trial key: %w", err)
	}
	g := policy.Grant{ID: id, Key: key.Public(), NotBefore: now.Add(-time.Second), NotAfter: now.Add(policy.MinTTL)}
	made, err := Leaf(g, a, signer, big.NewInt(1))
	if err != nil {
		return err
	}
	if err := a.verify(made, now); err != nil {
		return fmt.Errorf("a certificate signed by %s would not be trusted: %w", quote(a.cert), err)
	}
	return nil
}

func (a Authority) verify(made Issued, now time.Time) error {
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		opts := x509.VerifyOptions{
			Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use},
		}
		opts.Intermediates.AppendCertsFromPEM(made.ChainPEM)
		if !opts.Roots.AppendCertsFromPEM(a.bundle) {
			return errors.New("no root certificate")
		}
		if _, err := made.Leaf.Verify(opts); err != nil {
			return fmt.Errorf("chain to the root: %w", err)
		}
	}
	return nil
}
