package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// handshake is nil when the other side takes part in a TLS handshake and speaks the
// protocol that was asked for.
func handshake(ctx context.Context, door *mesh.Door, address string, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	raw, err := door.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, cfg)
	err = conn.HandshakeContext(ctx)
	if err == nil && len(cfg.NextProtos) > 0 && conn.ConnectionState().NegotiatedProtocol != cfg.NextProtos[0] {
		err = fmt.Errorf("it speaks %q, want %s", conn.ConnectionState().NegotiatedProtocol, cfg.NextProtos[0])
	}
	return errors.Join(err, raw.Close())
}

// hasLine says whether a text names one of two line numbers.
func hasLine(text string, numbers ...int) bool {
	for _, n := range numbers {
		for _, form := range []string{":%d:", "line %d", ":%d "} {
			if strings.Contains(text, fmt.Sprintf(form, n)) {
				return true
			}
		}
	}
	return false
}
