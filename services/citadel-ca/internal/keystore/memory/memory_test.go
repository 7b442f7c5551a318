package memory

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/keystoretest"
)

func TestSuite(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) keystoretest.Open {
		key, cert, err := Generate("cluster.local", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return func(_ context.Context, id spiffe.ID) (keystoretest.Store, error) {
			return New(id, key, cert, nil, []*x509.Certificate{cert}, time.Now())
		}
	})
}

func TestAnotherKeyIsRefused(t *testing.T) {
	now := time.Now()
	_, cert, err := Generate("cluster.local", now)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := Generate("cluster.local", now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(keystoretest.ID(t, "cluster.local"), key, cert, nil, []*x509.Certificate{cert}, now)
	if err == nil || !strings.Contains(err.Error(), "the key is not the one of authority certificate") {
		t.Errorf("got %v, want a refusal of the key", err)
	}
}

func TestCreateMakesAnotherEachTime(t *testing.T) {
	id := keystoretest.ID(t, "cluster.local")
	a, err := Create(id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Create(id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if a.Authority().Fingerprint() == b.Authority().Fingerprint() {
		t.Error("two authorities have one key")
	}
}
