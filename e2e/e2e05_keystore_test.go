package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// TestE2E05Identity: citadel-ca keeps its identity over restarts, wherever its key is,
// and refuses by name a key that is not the one it had.
func TestE2E05Identity(t *testing.T) {
	t.Run("a sealed file", testSealedFile)
	t.Run("a sealed file with a passphrase", testPassphrase)
	t.Run("Vault Transit", testVault)
	t.Run("brought by the operator", testProvided)
}

// few is a mesh of two workloads: enough for a certificate on each side.
func few(f *mesh.FleetFile) {
	f.Only("productpage-v1", "details-v1")
	f.Manual("egress", "mixer")
}

// whole is nil when a page of the small mesh comes through, details included, and a
// sidecar shows a certificate that leads to the bundle.
func (s *site) whole(ctx context.Context) error {
	p, err := s.page(ctx, "")
	if err != nil {
		return err
	}
	if p.NoDetails {
		return fmt.Errorf("no details: %s", p)
	}
	bundle, err := s.Bundle(ctx)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(bundle))
	caller, err := s.Identity(ctx, mesh.AccountID("default", "bookinfo-productpage"))
	if err != nil {
		return err
	}
	host, err := s.Host("details-v1")
	if err != nil {
		return err
	}
	door, err := s.Door("hub")
	if err != nil {
		return err
	}
	shown, err := knock(ctx, door, net.JoinHostPort(host.Address, fmt.Sprint(appPort)), "/health", clientTLS(&caller))
	if err != nil {
		return err
	}
	return isOf(shown, mesh.AccountID("default", "bookinfo-details"), roots)
}

// again stops everything and starts it on the same state; it returns the bundle.
func (s *site) again(t *testing.T) string {
	t.Helper()
	check(t, s.Stop())
	s.start(t)
	eventually(t, settleLimit, s.whole)
	return must(s.Bundle(t.Context()))(t)
}

// citadelUID is the user of citadel-ca.
func citadelUID() int {
	if os.Geteuid() != 0 {
		return os.Geteuid()
	}
	return 1342
}

// fails expects that citadel-ca does not come back after a restart, for reasons that
// are in its log, and that running proxies go on.
func (s *site) fails(t *testing.T, reasons ...string) {
	t.Helper()
	before := len(must(s.Log("citadel-ca"))(t))
	check(t, s.RestartProcess(t.Context(), "citadel-ca"))
	eventually(t, 20*time.Second, func(context.Context) error {
		log, err := s.Log("citadel-ca")
		if err != nil {
			return err
		}
		p, err := s.Process("citadel-ca")
		if err != nil {
			return err
		}
		if p.Phase == mesh.PhaseReady {
			return errors.New("citadel-ca is ready, as if nothing were wrong")
		}
		said := log[min(before, len(log)):]
		for _, reason := range reasons {
			if !strings.Contains(said, reason) {
				return fmt.Errorf("want %q in what citadel-ca says: %s", reason, brief(said))
			}
		}
		return nil
	})
	p := must(s.page(t.Context(), ""))(t)
	if p.NoDetails {
		t.Errorf("without citadel-ca running proxies do not go on: %s", p)
	}
}

func testSealedFile(t *testing.T) {
	s := own(t, mesh.Config{Fleet: few})
	eventually(t, settleLimit, s.whole)
	bundle := must(s.Bundle(t.Context()))(t)
	folder := filepath.Join(s.State, "citadel-ca")
	sealed, key := filepath.Join(folder, "authority.sealed"), filepath.Join(folder, "authority.key")
	for _, path := range []string{sealed, key} {
		info := must(os.Stat(path))(t)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	text := must(os.ReadFile(sealed))(t)
	if block, _ := pem.Decode(text); block != nil && strings.Contains(block.Type, "PRIVATE KEY") {
		t.Error("the sealed file holds the key in plain")
	}
	if now := s.again(t); now != bundle {
		t.Error("after a restart of everything the authority is another one")
	}
	// With another key the file does not open, and says so.
	kept := must(os.ReadFile(key))(t)
	check(t, secretFile(key, []byte("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"), citadelUID()))
	s.fails(t, "authority.sealed")
	check(t, secretFile(key, kept, citadelUID()))
	eventually(t, settleLimit, func(ctx context.Context) error { return errors.Join(s.Settled(), s.whole(ctx)) })
	if now := must(s.Bundle(t.Context()))(t); now != bundle {
		t.Error("after the right key came back the authority is another one")
	}
}

func testPassphrase(t *testing.T) {
	phrase := ""
	s := own(t, mesh.Config{
		Fleet: func(f *mesh.FleetFile) {
			few(f)
			phrase = filepath.Join(f.Dir, "passphrase")
			f.Flags("citadel-ca", "--keystore.file.keyFile=", "--keystore.file.create=false", "--keystore.file.passphraseFile="+phrase)
		},
		Before: func(*mesh.Mesh) error {
			return secretFile(phrase, []byte("correct horse battery staple\n"), citadelUID())
		},
	})
	eventually(t, settleLimit, s.whole)
	bundle := must(s.Bundle(t.Context()))(t)
	if now := s.again(t); now != bundle {
		t.Error("after a restart of everything the authority is another one")
	}
	check(t, secretFile(phrase, []byte("wrong horse battery staple\n"), citadelUID()))
	s.fails(t, "authority.sealed")
	log := must(s.Log("citadel-ca"))(t)
	if strings.Contains(log, "horse") {
		t.Error("the log holds the passphrase")
	}
}

func testProvided(t *testing.T) {
	ca := must(mesh.NewAuthority("an operator's own"))(t)
	var folder string
	s := own(t, mesh.Config{
		Fleet: func(f *mesh.FleetFile) {
			few(f)
			folder = filepath.Join(f.Dir, "ca")
			f.Flags("citadel-ca", "--keystore.kind=provided",
				"--keystore.provided.certificate="+filepath.Join(folder, "cert.pem"), "--keystore.provided.key="+filepath.Join(folder, "key.pem"))
		},
		Before: func(*mesh.Mesh) error {
			return errors.Join(os.MkdirAll(folder, 0o755), os.Chmod(folder, 0o755),
				secretFile(filepath.Join(folder, "cert.pem"), ca.PEM, citadelUID()), secretFile(filepath.Join(folder, "key.pem"), ca.KeyPEM, citadelUID()))
		},
	})
	eventually(t, settleLimit, s.whole)
	bundle := must(s.Bundle(t.Context()))(t)
	if !bytes.Contains([]byte(bundle), bytes.TrimSpace(ca.PEM)) {
		t.Errorf("the mesh does not trust the operator's root but %s", bundle)
	}
	if now := s.again(t); now != bundle {
		t.Error("after a restart of everything the authority is another one")
	}
	other := must(mesh.NewAuthority("somebody else's"))(t)
	check(t, secretFile(filepath.Join(folder, "key.pem"), other.KeyPEM, citadelUID()))
	s.fails(t, "cert.pem")
}

func testVault(t *testing.T) {
	root := must(mesh.FindRoot())(t)
	b := startBao(t, root)
	token := b.token(t)
	var listener net.Listener
	s := own(t, mesh.Config{
		Fleet: func(f *mesh.FleetFile) {
			few(f)
			f.Reach(baoHub, baoSocket)
			f.Flags("citadel-ca", "--keystore.kind=vault", "--keystore.vault.address=https://"+baoHub,
				"--keystore.vault.serverName="+baoName, "--keystore.vault.key="+baoKey,
				"--keystore.vault.caFile="+filepath.Join(f.Dir, "vault-ca.pem"), "--keystore.vault.tokenFile="+filepath.Join(f.Dir, "vault-token"))
		},
		Before: func(m *mesh.Mesh) (err error) {
			if listener == nil {
				listener, err = b.serveAt(filepath.Join(m.State, "run", baoSocket))
			}
			return errors.Join(err, secretFile(filepath.Join(m.Dir, "vault-ca.pem"), b.ca, citadelUID()),
				secretFile(filepath.Join(m.Dir, "vault-token"), []byte(token), citadelUID()))
		},
	})
	t.Cleanup(func() { listener.Close() })
	eventually(t, settleLimit, s.whole)
	bundle := must(s.Bundle(t.Context()))(t)
	if now := s.again(t); now != bundle {
		t.Error("after a restart of everything the authority is another one")
	}
	t.Run("the key cannot be read", func(t *testing.T) {
		b.allow(t, false)
		s.fails(t, baoKey)
		b.allow(t, true)
		eventually(t, settleLimit, func(ctx context.Context) error { return errors.Join(s.Settled(), s.whole(ctx)) })
	})
	t.Run("the key was rotated", func(t *testing.T) {
		check(t, b.call(t.Context(), http.MethodPost, "transit/keys/"+baoKey+"/rotate", nil, nil))
		s.fails(t, baoKey, "it was rotated")
	})
	t.Run("the key was deleted", func(t *testing.T) {
		check(t, b.call(t.Context(), http.MethodPost, "transit/keys/"+baoKey+"/config", map[string]any{"deletion_allowed": true}, nil))
		check(t, b.call(t.Context(), http.MethodDelete, "transit/keys/"+baoKey, nil, nil))
		s.fails(t, baoKey, "does not exist")
	})
}
