// Package memory keeps an authority's key in the memory of this process. In: a key
// and certificates, or nothing. Out: a store that signs. It writes nothing down; the
// packages beside it that read a key from somewhere end in this one.
package memory

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
)

// Store is an authority with its key. Immutable, safe for concurrent use.
type Store struct {
	authority issue.Authority
	key       crypto.Signer
}

// New checks that key belongs to cert and that what it signs for id's trust domain
// would be trusted at now; see issue.NewAuthority for between and roots.
func New(id spiffe.ID, key crypto.Signer, cert *x509.Certificate, between, roots []*x509.Certificate, now time.Time) (*Store, error) {
	a, err := issue.NewAuthority(id.TrustDomain(), cert, between, roots, now)
	if err != nil {
		return nil, err
	}
	if err := issue.Trial(a, id, key, now); err != nil {
		return nil, err
	}
	return &Store{a, key}, nil
}

// Generate makes an ECDSA P-256 key and a root certificate for it.
func Generate(domain string, now time.Time) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make authority key: %w", err)
	}
	var serial [issue.SerialBytes]byte
	rand.Read(serial[:]) //nolint:errcheck // documented never to fail
	cert, err := issue.Root(domain, key, issue.Serial(serial), now)
	if err != nil {
		return nil, nil, err
	}
	return key, cert, nil
}

// Create returns a new authority, which ends with the process. id is the authority's
// own identity.
func Create(id spiffe.ID, now time.Time) (*Store, error) {
	key, cert, err := Generate(id.TrustDomain(), now)
	if err != nil {
		return nil, err
	}
	return New(id, key, cert, nil, []*x509.Certificate{cert}, now)
}

// Authority returns the certificates.
func (s *Store) Authority() issue.Authority { return s.authority }

// Signer returns the key. It takes no time to speak of, so ctx does not matter.
func (s *Store) Signer(context.Context) crypto.Signer { return s.key }

// Ready has nothing to complain of.
func (s *Store) Ready() error { return nil }

// Run waits for ctx to end: there is nothing to look after.
func (s *Store) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// String keeps the key out of logs.
func (s *Store) String() string { return "authority " + s.authority.Fingerprint() }
