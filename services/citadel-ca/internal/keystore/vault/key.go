package vault

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hashicorp/vault/api"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
)

// key is what Vault says of a Transit key.
type key struct {
	latest, oldest int // versions; oldest is the oldest that may sign
	public         map[int]crypto.PublicKey
}

// keyData is the answer to a read of transit/keys/<name>.
type keyData struct {
	Type          string      `json:"type"`
	Latest        int         `json:"latest_version"`
	MinEncryption int         `json:"min_encryption_version"`
	Exportable    bool        `json:"exportable"`
	PlainBackup   bool        `json:"allow_plaintext_backup"`
	AutoRotate    json.Number `json:"auto_rotate_period"`
	SoftDeleted   bool        `json:"soft_deleted"`
	Keys          map[string]struct {
		PublicKey string `json:"public_key"`
	} `json:"keys"`
}

// readKey asks Vault about the key and refuses one that is unfit.
func (s *Store) readKey(ctx context.Context) (key, error) {
	var secret *api.Secret
	err := s.call(ctx, func(ctx context.Context) (err error) {
		secret, err = s.client.Logical().ReadWithContext(ctx, s.cfg.path())
		return err
	})
	if err != nil {
		return key{}, s.explain(err, "read", s.cfg.path())
	}
	if secret == nil {
		return key{}, fmt.Errorf("%s does not exist: if it was deleted, bring it back from a backup of Vault; "+
			"if it was never made, make it (vault write %s type=ecdsa-p256)", s.name(), s.cfg.path())
	}
	text, err := json.Marshal(secret.Data)
	if err != nil {
		return key{}, fmt.Errorf("%s: %w", s.name(), err)
	}
	k, err := parseKey(text)
	if err != nil {
		return key{}, fmt.Errorf("%s: %w", s.name(), err)
	}
	return k, nil
}

// parseKey reads Vault's description of a key and refuses one that could leave Vault,
// change by itself, or not sign as certificates need it.
func parseKey(text []byte) (key, error) {
	var d keyData
	if err := json.Unmarshal(text, &d); err != nil {
		return key{}, fmt.Errorf("Vault's answer: %w", err)
	}
	switch {
	case d.SoftDeleted:
		return key{}, errors.New("it was deleted (soft-deleted): restore it")
	case d.Type != "ecdsa-p256":
		return key{}, fmt.Errorf("it is of type %q, want ecdsa-p256", d.Type)
	case d.Exportable || d.PlainBackup:
		return key{}, errors.New("it can leave Vault (exportable or allow_plaintext_backup is set, which cannot be undone): make another one")
	case d.AutoRotate != "" && d.AutoRotate != "0":
		return key{}, errors.New("it rotates by itself, and with each turn the authority would be another: set auto_rotate_period to 0")
	}
	k := key{latest: d.Latest, oldest: d.MinEncryption, public: map[int]crypto.PublicKey{}}
	for text, v := range d.Keys {
		n, err := strconv.Atoi(text)
		if err != nil {
			return key{}, fmt.Errorf("Vault's answer: version %q", text)
		}
		blk, _ := pem.Decode([]byte(v.PublicKey))
		if blk == nil {
			return key{}, fmt.Errorf("Vault's answer: version %d has no public key", n)
		}
		if k.public[n], err = x509.ParsePKIXPublicKey(blk.Bytes); err != nil {
			return key{}, fmt.Errorf("Vault's answer: version %d: %w", n, err)
		}
	}
	return k, nil
}

// errRotated is what is wrong with a key that still signs with the pinned version.
var errRotated = errors.New("it was rotated")

// first chooses the version for a new authority: wanted, or the latest.
func (k key) first(wanted int) (int, error) {
	if wanted == 0 {
		wanted = k.latest
	}
	if k.public[wanted] == nil {
		return 0, fmt.Errorf("it has no version %d (keyVersion)", wanted)
	}
	return wanted, k.signs(wanted)
}

// pinned returns the version that h's certificate belongs to. Another version as the
// latest is refused, unless it is the one that was accepted in the settings.
func (k key) pinned(h held, accepted int) (int, error) {
	version := h.version
	if version == 0 {
		version = k.find(h.cert.PublicKey)
	}
	public := k.public[version]
	switch {
	case version != 0 && public == nil:
		return 0, fmt.Errorf("version %d is gone (trimmed), to which %s is pinned: bring the key back from a backup of Vault", version, h.from)
	case version == 0 || !issue.Same(public, h.cert.PublicKey):
		return 0, fmt.Errorf("it was replaced: it does not have the public key of %s. "+
			"Bring the key back from a backup of Vault, or, for a new authority and new certificates for all, remove that file", h.from)
	}
	if err := k.signs(version); err != nil {
		return 0, err
	}
	if version != k.latest && accepted != version {
		return 0, fmt.Errorf("%w: its latest version is %d, and %s is pinned to version %d. "+
			"To go on with version %d set keystore.vault.keyVersion to %d", errRotated, k.latest, h.from, version, version, version)
	}
	return version, nil
}

func (k key) find(public crypto.PublicKey) int {
	for n, p := range k.public {
		if issue.Same(p, public) {
			return n
		}
	}
	return 0
}

func (k key) signs(version int) error {
	if version < k.oldest {
		return fmt.Errorf("version %d may not sign: min_encryption_version is %d", version, k.oldest)
	}
	return nil
}

// explain says of a failed call whether to wait for Vault or to do something.
func (s *Store) explain(err error, verb, path string) error {
	var answer *api.ResponseError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case !errors.As(err, &answer):
		return fault.Unavailable.Wrap(err, "Vault at "+s.cfg.Address)
	case answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: the token in %s may not %s it, or has ended: it needs the policy "+
			"path %q { capabilities = [%q] }", s.name(), s.cfg.TokenFile, verb, path, map[string]string{"read": "read", "sign with": "update"}[verb])
	case answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		return fault.Unavailable.Errorf("Vault at %s: status %d, %q", s.cfg.Address, answer.StatusCode, answer.Errors)
	}
	return fmt.Errorf("%s: cannot %s it: status %d, %q", s.name(), verb, answer.StatusCode, answer.Errors)
}
