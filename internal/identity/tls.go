package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

var errNoCertificate = errors.New("no mesh certificate yet")

// ServerTLS returns settings for a listener that shows the current certificate and
// verifies client certificates against the current bundle. With required, a client
// without a certificate is refused; a bad one always is.
func (s *Source) ServerTLS(required bool) *tls.Config {
	auth := tls.RequestClientCert
	if required {
		auth = tls.RequireAnyClientCert
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: auth,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.own()
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 && !required {
				return nil
			}
			_, err := s.peer(cs)
			return err
		},
		SessionTicketsDisabled: true, // a resumed session would skip the check against a newer bundle
	}
}

// ClientTLS returns settings for a connection to one of servers: the server's
// certificate must chain to the bundle and carry one of these identities. Without any
// server every connection is refused.
func (s *Source) ClientTLS(servers ...spiffe.ID) *tls.Config { return s.clientConfig(servers) }

func (s *Source) clientConfig(servers []spiffe.ID) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Host names mean nothing here: VerifyConnection checks chain and identity.
		InsecureSkipVerify: true, //nolint:gosec // verified below
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return s.own()
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			id, err := s.peer(cs)
			if err != nil {
				return err
			}
			if !slices.Contains(servers, id) {
				return fmt.Errorf("peer is %s, want %s", id, servers)
			}
			return nil
		},
	}
}

func (s *Source) own() (*tls.Certificate, error) {
	c := s.Current()
	if c == nil {
		return nil, errNoCertificate
	}
	return &c.tls, nil
}

// peer verifies the other side's chain and returns its identity. The trust domain
// needs no separate check beyond the chain only while there is one domain per bundle,
// so it is checked as well.
func (s *Source) peer(cs tls.ConnectionState) (spiffe.ID, error) {
	s.mu.Lock()
	roots := s.bundle
	if s.current != nil {
		roots = s.current.roots
	}
	s.mu.Unlock()
	if roots == nil {
		return spiffe.ID{}, errNoCertificate
	}
	der := make([][]byte, len(cs.PeerCertificates))
	for i, c := range cs.PeerCertificates {
		der[i] = c.Raw
	}
	if err := verify(der, roots, time.Now()); err != nil {
		return spiffe.ID{}, fmt.Errorf("peer: %w", err)
	}
	id, err := spiffe.FromCertificate(cs.PeerCertificates[0])
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("peer: %w", err)
	}
	if id.TrustDomain() != s.cfg.ID.TrustDomain() {
		return spiffe.ID{}, fmt.Errorf("peer: %s is of another trust domain than %s", id, s.cfg.ID)
	}
	return id, nil
}

// PeerID returns the identity of a verified peer, as shown by a connection made with
// ServerTLS or ClientTLS; the zero ID if it showed no certificate.
func PeerID(certs []*x509.Certificate) spiffe.ID {
	if len(certs) == 0 {
		return spiffe.ID{}
	}
	id, err := spiffe.FromCertificate(certs[0])
	if err != nil {
		return spiffe.ID{}
	}
	return id
}

// PeerEnd returns when the certificate of a verified peer ends, after which it proves
// nothing any more; the zero time if none was shown.
func PeerEnd(certs []*x509.Certificate) time.Time {
	if len(certs) == 0 {
		return time.Time{}
	}
	return certs[0].NotAfter
}
