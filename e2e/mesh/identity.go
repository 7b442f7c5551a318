package mesh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"time"
)

// TrustDomain is the one of the fleet file.
const TrustDomain = "cluster.local"

// AccountID is the SPIFFE ID of an account of the mesh.
func AccountID(namespace, account string) string {
	return "spiffe://" + TrustDomain + "/ns/" + namespace + "/sa/" + account
}

// Identity is a certificate with its key, and the roots it was given to trust.
type Identity struct {
	Certificate tls.Certificate
	Roots       *x509.CertPool
	// The same as PEM.
	ChainPEM, KeyPEM, RootsPEM []byte
}

// JoinToken asks citadel-ca, as an administrator, for a token for one identity.
func (m *Mesh) JoinToken(ctx context.Context, id string) (string, error) {
	answer, err := m.REST(ctx, "citadel-ca", http.MethodPost, "/v1/jointokens", map[string]string{"id": id})
	if err != nil {
		return "", err
	}
	var token struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(answer.Body), &token); err != nil || token.Token == "" {
		return "", fmt.Errorf("join token for %s: status %d: %s", id, answer.Status, answer.Body)
	}
	return token.Token, nil
}

// NewRequest makes a key and a certificate request for an identity.
func NewRequest(id string) (key *ecdsa.PrivateKey, request []byte, err error) {
	uri, err := url.Parse(id)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: %w", err)
	}
	key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate request: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// Sign sends a certificate request with a join token to citadel-ca and returns the
// answer as it came.
func (m *Mesh) Sign(ctx context.Context, request []byte, token string) (Answer, error) {
	return m.REST(ctx, "citadel-ca", http.MethodPost, "/v1/certificates",
		map[string]string{"csrPem": string(request), "joinToken": token})
}

// Identity gets a certificate of any identity of the mesh, as an administrator can.
func (m *Mesh) Identity(ctx context.Context, id string) (Identity, error) {
	token, err := m.JoinToken(ctx, id)
	if err != nil {
		return Identity{}, err
	}
	key, request, err := NewRequest(id)
	if err != nil {
		return Identity{}, err
	}
	answer, err := m.Sign(ctx, request, token)
	if err != nil {
		return Identity{}, err
	}
	var signed struct {
		ChainPEM  string `json:"chainPem"`
		BundlePEM string `json:"bundlePem"`
	}
	if err := json.Unmarshal([]byte(answer.Body), &signed); err != nil || answer.Status != http.StatusOK {
		return Identity{}, fmt.Errorf("sign %s: status %d: %s", id, answer.Status, answer.Body)
	}
	return assemble(key, signed.ChainPEM, signed.BundlePEM)
}

func assemble(key *ecdsa.PrivateKey, chain, bundle string) (Identity, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Identity{}, fmt.Errorf("key: %w", err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	pair, err := tls.X509KeyPair([]byte(chain), keyPEM)
	if err != nil {
		return Identity{}, fmt.Errorf("certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(bundle)) {
		return Identity{}, errors.New("bundle: no certificate in it")
	}
	return Identity{Certificate: pair, Roots: roots, ChainPEM: []byte(chain), KeyPEM: keyPEM, RootsPEM: []byte(bundle)}, nil
}

// Bundle is the PEM of the certificates that the mesh trusts.
func (m *Mesh) Bundle(ctx context.Context) (string, error) {
	var bundle struct {
		PEM string `json:"bundlePem"`
	}
	err := m.Read(ctx, "citadel-ca", "/v1/bundle", &bundle)
	return bundle.PEM, err
}

// Foreign makes a root of its own and with it a certificate of any identity, as an
// attacker could.
func Foreign(id string) (Identity, error) {
	root, err := NewAuthority("foreign root")
	if err != nil {
		return Identity{}, err
	}
	key, _, err := NewRequest(id)
	if err != nil {
		return Identity{}, err
	}
	uri, err := url.Parse(id)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	leaf := template(2)
	leaf.URIs, leaf.KeyUsage = []*url.URL{uri}, x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root.Certificate, &key.PublicKey, root.Key)
	if err != nil {
		return Identity{}, fmt.Errorf("sign: %w", err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return assemble(key, string(chain), string(root.PEM))
}

// Authority is a CA certificate and its key, as an operator could bring them.
type Authority struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey
	PEM, KeyPEM []byte
}

// NewAuthority makes a self-signed CA.
func NewAuthority(name string) (Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Authority{}, fmt.Errorf("key: %w", err)
	}
	ca := template(1)
	ca.Subject.CommonName = name
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return Authority{}, fmt.Errorf("sign: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return Authority{}, fmt.Errorf("certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Authority{}, fmt.Errorf("key: %w", err)
	}
	return Authority{
		Certificate: certificate, Key: key,
		PEM:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

func template(serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
}
