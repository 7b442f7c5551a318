package file

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// envelope is the sealed file. Its box is AES-256-GCM under a key that is derived
// anew, with a new salt, each time a file is written.
type envelope struct {
	Format string `json:"format"`
	KDF    kdf    `json:"kdf"`
	Salt   []byte `json:"salt"`
	// Check tells a wrong secret from a damaged file. It is derived beside the key
	// and says nothing about it.
	Check []byte `json:"check"`
	Box   []byte `json:"box"`
}

// kdf is how the key comes from the secret: Argon2id for passphrases (RFC 9106), HKDF
// for keys (RFC 5869).
type kdf struct {
	Name    string `json:"name"`
	Time    uint32 `json:"time,omitempty"`
	Memory  uint32 `json:"memoryKiB,omitempty"`
	Threads uint8  `json:"threads,omitempty"`
}

const (
	format     = "outrigger sealed authority 1"
	kdfKey     = "hkdf-sha256"
	kdfPass    = "argon2id"
	saltBytes  = 32
	checkBytes = 16
	// Bounds for what a file may ask of us: the file is not trusted before it opens.
	maxMemory  = 1 << 20 // KiB
	maxTime    = 16
	maxThreads = 16
)

// forPassphrases is the second of the two choices that RFC 9106 section 4 recommends.
func forPassphrases() kdf { return kdf{Name: kdfPass, Time: 3, Memory: 64 << 10, Threads: 4} }

func (k kdf) check() error {
	switch {
	case k.Name == kdfKey:
		return nil
	case k.Name != kdfPass:
		return fmt.Errorf("key derivation %q is not known", k.Name)
	case k.Time < 1 || k.Time > maxTime || k.Memory < 8<<10 || k.Memory > maxMemory || k.Threads < 1 || k.Threads > maxThreads:
		return errors.New("key derivation with parameters out of bounds")
	}
	return nil
}

// derive returns the key of the box and the check.
func (k kdf) derive(s secret, salt []byte) (key, check []byte, err error) {
	if s.weak != (k.Name == kdfPass) {
		return nil, nil, fmt.Errorf("it was sealed with a %s, not with %s", map[bool]string{true: "passphrase", false: "key"}[k.Name == kdfPass], s.from)
	}
	var out []byte
	if s.weak {
		out = argon2.IDKey(s.bytes, salt, k.Time, k.Memory, k.Threads, keyBytes+checkBytes)
	} else if out, err = hkdf.Key(sha256.New, s.bytes, salt, format, keyBytes+checkBytes); err != nil {
		return nil, nil, fmt.Errorf("derive key: %w", err)
	}
	return out[:keyBytes], out[keyBytes:], nil
}

func seal(plain []byte, s secret) ([]byte, error) {
	e := envelope{Format: format, KDF: kdf{Name: kdfKey}, Salt: make([]byte, saltBytes)}
	if s.weak {
		e.KDF = forPassphrases()
	}
	rand.Read(e.Salt) //nolint:errcheck // documented never to fail
	key, check, err := e.KDF.derive(s, e.Salt)
	if err != nil {
		return nil, err
	}
	aead, err := box(key)
	if err != nil {
		return nil, err
	}
	e.Check, e.Box = check, aead.Seal(nil, nil, plain, []byte(format))
	out, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("sealed file: %w", err)
	}
	return append(out, '\n'), nil
}

func unseal(sealed []byte, s secret) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(sealed, &e); err != nil || e.Format != format || len(e.Salt) != saltBytes || len(e.Check) != checkBytes {
		return nil, errors.New("damaged, or no sealed authority: bring it back from a backup")
	}
	if err := e.KDF.check(); err != nil {
		return nil, err
	}
	key, check, err := e.KDF.derive(s, e.Salt)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(check, e.Check) != 1 {
		return nil, fmt.Errorf("not opened by %s: it was sealed with another one", s.from)
	}
	aead, err := box(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, e.Box, []byte(format))
	if err != nil {
		return nil, errors.New("damaged: bring it back from a backup")
	}
	return plain, nil
}

func box(key []byte) (cipher.AEAD, error) {
	blk, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(blk)
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	return aead, nil
}
