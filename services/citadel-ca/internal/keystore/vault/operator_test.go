package vault

import (
	"crypto/ecdsa"
	"crypto/x509"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/memory"
)

// operatorRoot is a root of the operator's own.
func operatorRoot(t *testing.T) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, cert, err := memory.Generate("cluster.local", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}
