package vault

import (
	"context"
	"crypto"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/vault/api"
)

// signer is the key for one call: crypto.Signer takes no context, so it holds one.
type signer struct {
	ctx    context.Context //nolint:containedctx // see above
	store  *Store
	public crypto.PublicKey
}

// Public returns the public half of the pinned version.
func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign has Vault sign a SHA-256 digest with the pinned version of the key. Errors:
// fault.Unavailable if Vault cannot be reached now.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, fmt.Errorf("%s signs SHA-256 digests, not %s of %d bytes", s.store.name(), opts.HashFunc(), len(digest))
	}
	var secret *api.Secret
	path := s.store.cfg.signPath()
	err := s.store.call(s.ctx, func(ctx context.Context) (err error) {
		secret, err = s.store.client.Logical().WriteWithContext(ctx, path, map[string]any{
			"input":                base64.StdEncoding.EncodeToString(digest),
			"prehashed":            true,
			"hash_algorithm":       "sha2-256",
			"marshaling_algorithm": "asn1",
			"key_version":          s.store.version,
		})
		return err
	})
	if err != nil {
		return nil, s.store.explain(err, "sign with", path)
	}
	return parseSignature(secret, s.store.version)
}

// parseSignature reads "vault:v<version>:<base64>".
func parseSignature(secret *api.Secret, version int) ([]byte, error) {
	var text string
	if secret != nil {
		text, _ = secret.Data["signature"].(string)
	}
	coded, ok := strings.CutPrefix(text, fmt.Sprintf("vault:v%d:", version))
	if !ok {
		return nil, fmt.Errorf("Vault's answer has no signature by version %d of the key", version)
	}
	sig, err := base64.StdEncoding.DecodeString(coded)
	if err != nil {
		return nil, fmt.Errorf("Vault's answer: signature: %w", err)
	}
	return sig, nil
}
