// Package provided takes an authority that the operator brings as files. In: a
// certificate, its key, the certificates between it and the root, and the roots, all
// PEM. Out: a store that signs with that key. It writes nothing, and refuses at start
// whatever would make certificates that nobody trusts.
package provided

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/durable"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/memory"
)

// Config names the files.
type Config struct {
	Certificate string `yaml:"certificate" help:"the authority's certificate, PEM"`
	Key         string `yaml:"key" help:"its private key, PEM without a passphrase, mode 0600"`
	Chain       string `yaml:"chain" help:"certificates between it and the root, PEM; empty if a root signed it, or it is one"`
	Roots       string `yaml:"roots" help:"root certificates to trust, PEM; empty if the certificate is the root"`
}

// Open reads and checks the files for the authority of that identity.
func Open(cfg Config, id spiffe.ID, now time.Time) (*memory.Store, error) {
	cert, between, roots, err := Certificates(cfg.Certificate, cfg.Chain, cfg.Roots)
	if err != nil {
		return nil, err
	}
	key, err := readKey(cfg.Key)
	if err != nil {
		return nil, err
	}
	s, err := memory.New(id, key, cert, between, roots, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Certificate, err)
	}
	return s, nil
}

// Certificates reads the files. Without roots the certificate is the root; a
// certificate's file may hold its chain as well.
func Certificates(certFile, chainFile, rootsFile string) (cert *x509.Certificate, between, roots []*x509.Certificate, err error) {
	all, err := readCertificates(certFile)
	if err != nil {
		return nil, nil, nil, err
	}
	cert, between = all[0], all[1:]
	if chainFile != "" {
		more, err := readCertificates(chainFile)
		if err != nil {
			return nil, nil, nil, err
		}
		between = append(between, more...)
	}
	if rootsFile == "" {
		if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
			return nil, nil, nil, fmt.Errorf("%s did not sign itself, so its root must be given: %w", certFile, err)
		}
		return cert, between, []*x509.Certificate{cert}, nil
	}
	if roots, err = readCertificates(rootsFile); err != nil {
		return nil, nil, nil, err
	}
	for _, r := range roots {
		if err := r.CheckSignatureFrom(r); err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %q is not a root: %w", rootsFile, r.Subject.String(), err)
		}
	}
	return cert, between, roots, nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	text, err := durable.Read(path)
	if err != nil {
		return nil, fmt.Errorf("authority certificate: %w", err)
	}
	return issue.Certificates(text, path)
}

// readKey reads PKCS #8, SEC 1 or PKCS #1. Errors never have a part of the file.
func readKey(path string) (crypto.Signer, error) {
	text, err := durable.ReadSecret(path)
	if err != nil {
		return nil, fmt.Errorf("authority key: %w", err)
	}
	for {
		blk, rest := pem.Decode(text)
		if blk == nil {
			return nil, fmt.Errorf("authority key %s: no private key in PEM", path)
		}
		text = rest
		if blk.Type == "EC PARAMETERS" { // openssl writes them before the key
			continue
		}
		key, err := parseKey(blk)
		if err != nil {
			return nil, fmt.Errorf("authority key %s: %w", path, err)
		}
		return key, checkStrength(path, key)
	}
}

func parseKey(blk *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch {
	case blk.Type == "ENCRYPTED PRIVATE KEY" || blk.Headers["DEK-Info"] != "":
		return nil, errors.New("it has a passphrase: store it without one (openssl pkey -in … -out …), " +
			"or put it into Vault Transit")
	case blk.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(blk.Bytes)
	case blk.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(blk.Bytes)
	case blk.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(blk.Bytes)
	default:
		return nil, fmt.Errorf("a block %s, want PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY", blk.Type)
	}
	if err != nil {
		return nil, errors.New("the key is damaged")
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return s, nil
}

func checkStrength(path string, key crypto.Signer) error {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return fmt.Errorf("authority key %s: ECDSA on %s, want P-256 or P-384", path, k.Curve.Params().Name)
		}
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return fmt.Errorf("authority key %s: RSA of %d bits, want 2048 or more", path, k.N.BitLen())
		}
	case ed25519.PrivateKey:
		// Envoy's BoringSSL does not offer Ed25519 in its default signature algorithms.
		return fmt.Errorf("authority key %s: Ed25519, which Envoy does not verify: want ECDSA or RSA", path)
	}
	return nil
}
