package identity_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// selfMade signs for id for an hour at a time; while it is away it fails.
type selfMade struct {
	id   spiffe.ID
	away atomic.Bool
}

func (s *selfMade) sign(_ context.Context, key crypto.PublicKey) ([]byte, []byte, error) {
	if s.away.Load() {
		return nil, nil, errors.New("the key is away")
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{s.id.URL()},
	}
	root, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key, caKey)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}), nil
}

func TestLocalRenewsAtHalfLifeAndTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id, err := spiffe.New("cluster.local", "outrigger-system", "citadel-ca")
		if err != nil {
			t.Fatal(err)
		}
		made := &selfMade{id: id}
		made.away.Store(true)
		l := identity.NewLocal(id, made.sign, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		if got := l.Waiting(); l.Current() != nil || !strings.Contains(got, "the key is away") {
			t.Errorf("without a key: waiting for %q, has %v", got, l.Current())
		}
		made.away.Store(false)
		time.Sleep(6 * time.Second) // the longest pause between tries is 5 s
		synctest.Wait()
		first := l.Current()
		if first == nil || first.ID != id || l.Waiting() != "" {
			t.Fatalf("with the key back: %v, waiting for %q", first, l.Waiting())
		}
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		if l.Current() != first {
			t.Error("renewed before half of its life")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if l.Current() == first {
			t.Error("not renewed after half of its life")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestLocalRefusesACertificateForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id, err := spiffe.New("cluster.local", "outrigger-system", "citadel-ca")
		if err != nil {
			t.Fatal(err)
		}
		other, err := spiffe.New("cluster.local", "outrigger-system", "pilot")
		if err != nil {
			t.Fatal(err)
		}
		l := identity.NewLocal(id, (&selfMade{id: other}).sign, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		if got := l.Waiting(); l.Current() != nil || !strings.Contains(got, "sa/pilot, want ") {
			t.Errorf("has %v, waiting for %q", l.Current(), got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
