// Package file keeps an authority in a sealed file: certificate and private key,
// encrypted with a key that is derived from a passphrase or read from a key file. In:
// the files. Out: a store that signs. The authority is made at the first start and
// kept from then on; no other key than the one it was sealed with opens it.
//
// A passphrase that is typed or mounted protects against whoever gets the sealed
// file. A key file on the same disk protects against copies of the sealed file only:
// backups, images, a state folder that was sent along with a question. Whoever reads
// the disk as this process's user has both.
package file

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/durable"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/memory"
)

// Config names the files. One of PassphraseFile and KeyFile is given.
type Config struct {
	Path           string `yaml:"path" help:"the sealed file; empty for authority.sealed in the state folder"`
	PassphraseFile string `yaml:"passphraseFile" help:"file of mode 0600 with the passphrase that opens it"`
	KeyFile        string `yaml:"keyFile" help:"file of mode 0600 with the key that opens it, 32 random bytes in base64; empty for authority.key in the state folder if create is set"`
	Create         bool   `yaml:"create" help:"make the key file at the first start; protects against copies of the sealed file only"`
}

// Open opens the sealed file, or makes an authority and seals it if there is none.
// Errors name the file and say what to do.
func Open(cfg Config, id spiffe.ID, now time.Time) (*memory.Store, error) {
	if (cfg.PassphraseFile == "") == (cfg.KeyFile == "") {
		return nil, errors.New("keystore.file: give either passphraseFile or keyFile")
	}
	if err := durable.Folder(filepath.Dir(cfg.Path)); err != nil {
		return nil, err
	}
	sealed, err := durable.ReadSecret(cfg.Path)
	fresh := errors.Is(err, os.ErrNotExist)
	if err != nil && !fresh {
		return nil, fmt.Errorf("sealed file: %w", err)
	}
	pass, err := secretOf(cfg, fresh)
	if err != nil {
		return nil, err
	}
	if fresh {
		return create(cfg.Path, pass, id, now)
	}
	plain, err := unseal(sealed, pass)
	if err != nil {
		return nil, fmt.Errorf("sealed file %s: %w", cfg.Path, err)
	}
	key, cert, err := decode(plain)
	if err != nil {
		return nil, fmt.Errorf("sealed file %s: %w", cfg.Path, err)
	}
	s, err := memory.New(id, key, cert, nil, []*x509.Certificate{cert}, now)
	if err != nil {
		return nil, fmt.Errorf("sealed file %s: %w", cfg.Path, err)
	}
	return s, nil
}

func create(path string, pass secret, id spiffe.ID, now time.Time) (*memory.Store, error) {
	key, cert, err := memory.Generate(id.TrustDomain(), now)
	if err != nil {
		return nil, err
	}
	plain, err := encode(key, cert)
	if err != nil {
		return nil, err
	}
	sealed, err := seal(plain, pass)
	if err != nil {
		return nil, err
	}
	if err := durable.Replace(path, sealed); err != nil {
		return nil, err
	}
	return memory.New(id, key, cert, nil, []*x509.Certificate{cert}, now)
}

const keyBlock = "PRIVATE KEY"

func encode(key *ecdsa.PrivateKey, cert *x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode authority key: %w", err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), issue.Encode(cert)...), nil
}

func decode(plain []byte) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	blk, rest := pem.Decode(plain)
	if blk == nil || blk.Type != keyBlock {
		return nil, nil, errors.New("no key in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(blk.Bytes)
	if err != nil {
		return nil, nil, errors.New("the key in it is damaged")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("a key of type %T in it", parsed)
	}
	certs, err := issue.Certificates(rest, "certificate in it")
	if err != nil {
		return nil, nil, err
	}
	return key, certs[0], nil
}
