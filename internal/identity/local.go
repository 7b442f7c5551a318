package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Signer makes a certificate for key, of the one identity that it knows, and returns
// chain (leaf first) and trust bundle in PEM. It may block until it can, or ctx ends.
type Signer func(ctx context.Context, key crypto.PublicKey) (chainPEM, bundlePEM []byte, err error)

// Local is a Source whose certificates are made in the same process, for the one
// service that has nobody to ask: the authority. It keeps nothing on disk.
type Local struct {
	*Source
	sign Signer
}

// NewLocal returns a Local for id that has nothing yet.
func NewLocal(id spiffe.ID, sign Signer, log *slog.Logger) *Local {
	return &Local{Source: New(Config{ID: id}, nil, log), sign: sign}
}

// Run makes certificates and renews them at half life until ctx ends, and returns
// only that.
func (l *Local) Run(ctx context.Context) error {
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		c, err := l.make(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			wait = l.failed(err, wait)
		default:
			l.set(c)
			l.log.Info("certificate", "id", c.ID.String(), "not_after", c.NotAfter)
			wait = time.Until(renewAt(c.NotBefore, c.NotAfter, 0))
		}
	}
}

func (l *Local) make(ctx context.Context) (*Certificate, error) {
	key, keyPEM, err := newKey(func() (*ecdsa.PrivateKey, error) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	})
	if err != nil {
		return nil, err
	}
	chain, bundle, err := l.sign(ctx, key.Public())
	if err != nil {
		return nil, fmt.Errorf("own certificate: %w", err)
	}
	c, err := parse(keyPEM, chain, bundle, time.Now())
	if err != nil {
		return nil, fmt.Errorf("own certificate: %w", err)
	}
	if c.ID != l.cfg.ID {
		return nil, fmt.Errorf("own certificate is for %s, want %s", c.ID, l.cfg.ID)
	}
	return c, nil
}
