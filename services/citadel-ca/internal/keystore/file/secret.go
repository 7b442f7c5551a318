package file

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/durable"
)

// secret is what opens a sealed file.
type secret struct {
	bytes []byte
	weak  bool   // a passphrase, which people choose
	from  string // the file, for errors
}

const (
	keyBytes      = 32
	minPassphrase = 12
)

// secretOf reads the passphrase or key. A key file is made only together with the
// sealed file: a new one would not open an old file.
func secretOf(cfg Config, fresh bool) (secret, error) {
	if cfg.PassphraseFile != "" {
		return passphrase(cfg.PassphraseFile)
	}
	text, err := durable.ReadSecret(cfg.KeyFile)
	switch {
	case errors.Is(err, os.ErrNotExist) && cfg.Create && fresh:
		return makeKey(cfg.KeyFile)
	case errors.Is(err, os.ErrNotExist) && fresh:
		return secret{}, fmt.Errorf("key file %s does not exist: make one (head -c 32 /dev/urandom | base64), or set keystore.file.create", cfg.KeyFile)
	case errors.Is(err, os.ErrNotExist):
		return secret{}, fmt.Errorf("key file %s is gone, and without it sealed file %s stays closed: bring it back; "+
			"only a new authority, with new certificates for all, does without (remove the sealed file)", cfg.KeyFile, cfg.Path)
	case err != nil:
		return secret{}, fmt.Errorf("key file: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != keyBytes {
		return secret{}, fmt.Errorf("key file %s: want %d bytes in base64", cfg.KeyFile, keyBytes)
	}
	return secret{bytes: key, from: "key file " + cfg.KeyFile}, nil
}

func passphrase(path string) (secret, error) {
	text, err := durable.ReadSecret(path)
	if err != nil {
		return secret{}, fmt.Errorf("passphrase file: %w", err)
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) < minPassphrase {
		return secret{}, fmt.Errorf("passphrase file %s: %d bytes, want %d or more", path, len(text), minPassphrase)
	}
	return secret{bytes: text, weak: true, from: "passphrase file " + path}, nil
}

func makeKey(path string) (secret, error) {
	key := make([]byte, keyBytes)
	rand.Read(key) //nolint:errcheck // documented never to fail
	if err := durable.Replace(path, append(base64.StdEncoding.AppendEncode(nil, key), '\n')); err != nil {
		return secret{}, fmt.Errorf("key file: %w", err)
	}
	return secret{bytes: key, from: "key file " + path}, nil
}
