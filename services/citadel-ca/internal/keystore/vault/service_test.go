package vault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	cav1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/ca/v1"
	citadelca "github.com/outrigger-mesh/outrigger/services/citadel-ca"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/vault/baotest"
)

const workload = "spiffe://cluster.local/ns/default/sa/reviews"

// serve runs citadel-ca with its key in Vault until the test ends, and returns a client
// by its Unix socket.
func serve(t *testing.T, s *baotest.Server) cav1.AuthorityServiceClient {
	t.Helper()
	dir, err := os.MkdirTemp("", "citadel") // short, for the sockets' paths
	if err != nil {
		t.Fatal(err)
	}
	cfg := citadelca.DefaultConfig()
	cfg.State, cfg.Listen.Sockets = filepath.Join(dir, "state"), dir
	cfg.Telemetry.LogLevel = "error"
	cfg.Keystore.Kind = "vault"
	cfg.Keystore.Vault.Address, cfg.Keystore.Vault.CAFile = s.Addr, s.CA
	cfg.Keystore.Vault.Timeout = time.Second
	cfg.Keystore.Vault.TokenFile = s.TokenFor(t, baotest.Policy(cfg.Keystore.Vault.Key), time.Hour)
	s.Set("transit/keys/"+cfg.Keystore.Vault.Key, map[string]any{"type": "ecdsa-p256"})
	s.Stop() // the authority starts while Vault is away
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- citadelca.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("end of the service: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	conn, err := rpc.DialSocket(filepath.Join(dir, "citadel-ca.grpc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return cav1.NewAuthorityServiceClient(conn)
}

func request(t *testing.T, token string) *cav1.SignRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := spiffe.Parse(workload)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &cav1.SignRequest{
		CsrPem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), JoinToken: token,
	}
}

// TestTheServiceWaitsForVault starts the authority before Vault, takes Vault away from
// it, and looks that a join token is not lost by it.
func TestTheServiceWaitsForVault(t *testing.T) {
	s := baotest.Launch(t)
	ca := serve(t, s)
	made, err := ca.CreateJoinToken(t.Context(), &cav1.CreateJoinTokenRequest{Id: workload}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("join token, which takes no key: %v", err)
	}
	if _, err := ca.Sign(t.Context(), request(t, made.GetToken())); status.Code(err) != codes.Unavailable {
		t.Errorf("sign before Vault is there: %v, want unavailable", err)
	}
	s.Again()
	wait(t, ca)
	before, err := ca.GetStatus(t.Context(), nil)
	if err != nil || before.GetKeystore() != "vault" || before.GetKeyFingerprint() == "" {
		t.Fatalf("status %v, %v; want a key in Vault", before, err)
	}
	s.Stop()
	if _, err := ca.Sign(t.Context(), request(t, made.GetToken())); status.Code(err) != codes.Unavailable {
		t.Errorf("sign while Vault is away: %v, want unavailable", err)
	}
	s.Again()
	if _, err := ca.Sign(t.Context(), request(t, made.GetToken())); err != nil {
		t.Errorf("the same token with Vault back: %v", err)
	}
	if _, err := ca.Sign(t.Context(), request(t, made.GetToken())); status.Code(err) != codes.Unauthenticated {
		t.Errorf("and once more: %v, want unauthenticated", err)
	}
}

// wait asks for the bundle until the authority's key is open.
func wait(t *testing.T, ca cav1.AuthorityServiceClient) {
	t.Helper()
	end := time.After(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := ca.GetBundle(t.Context(), &cav1.GetBundleRequest{})
		if err == nil {
			return
		}
		select {
		case <-end:
			t.Fatalf("the key is not open: %v", err)
		case <-tick.C:
		}
	}
}
