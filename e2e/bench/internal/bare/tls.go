package bare

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// life of certificates: longer than any benchmark.
const life = 24 * time.Hour

// authority signs for the pair.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the bare Envoys' authority: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bare"},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the bare Envoys' authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of the bare Envoys' authority: %w", err)
	}
	return &authority{cert: cert, key: key}, nil
}

func id(name string) string { return "spiffe://bare/" + name }

// Identity proves who somebody is, and whom to believe.
type Identity struct {
	// Certificate, Key and Authority are PEM.
	Certificate, Key, Authority string
}

// sign returns the identity of somebody.
func (a *authority) sign(name string) (Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("key of bare %s: %w", name, err)
	}
	uri, err := url.Parse(id(name))
	if err != nil {
		return Identity{}, fmt.Errorf("certificate of bare %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{uri},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Identity{}, fmt.Errorf("certificate of bare %s: %w", name, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Identity{}, fmt.Errorf("key of bare %s: %w", name, err)
	}
	return Identity{
		Certificate: text("CERTIFICATE", der), Key: text("PRIVATE KEY", secret), Authority: text("CERTIFICATE", a.cert.Raw),
	}, nil
}

// context is the common TLS context of one that wants to see peer.
func (i Identity) context(peer string) object {
	inline := func(pem string) object { return object{"inline_string": pem} }
	return object{
		"tls_params":       object{"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
		"tls_certificates": list{object{"certificate_chain": inline(i.Certificate), "private_key": inline(i.Key)}},
		"validation_context": object{
			"trusted_ca":                    inline(i.Authority),
			"match_typed_subject_alt_names": list{object{"san_type": "URI", "matcher": object{"exact": id(peer)}}},
		},
	}
}

// ServerTLS is what the policy server serves with: whoever calls must show a
// certificate of the pair's authority.
func (i Identity) ServerTLS() (*tls.Config, error) {
	cert, err := tls.X509KeyPair([]byte(i.Certificate), []byte(i.Key))
	if err != nil {
		return nil, fmt.Errorf("identity of the policy server: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(i.Authority)) {
		return nil, errors.New("identity of the policy server: no authority")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
	}, nil
}

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
