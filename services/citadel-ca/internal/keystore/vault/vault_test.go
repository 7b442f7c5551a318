package vault

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/keystoretest"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/memory"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/vault/baotest"
)

func openLog(t *testing.T, cfg Config, log *slog.Logger) (*Store, error) {
	t.Helper()
	return Open(t.Context(), cfg, keystoretest.ID(t, "cluster.local"), time.Now(), log)
}

func open(t *testing.T, cfg Config) (*Store, error) {
	t.Helper()
	return openLog(t, cfg, slog.New(slog.DiscardHandler))
}

func must(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := open(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t *testing.T, s *Store) error {
	t.Helper()
	return issue.Trial(s.Authority(), keystoretest.ID(t, "cluster.local"), s.Signer(t.Context()), time.Now())
}

func refused(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: got %v, want %q", what, err, w)
		}
	}
}

// TestStore runs what needs a server that stays up against one.
func TestStore(t *testing.T) {
	s := baotest.Launch(t)
	t.Run("suite", func(t *testing.T) {
		keystoretest.Run(t, func(t *testing.T) keystoretest.Open {
			cfg := place(t, s)
			return func(ctx context.Context, id spiffe.ID) (keystoretest.Store, error) {
				return Open(ctx, cfg, id, time.Now(), slog.New(slog.DiscardHandler))
			}
		})
	})
	for name, f := range map[string]func(*testing.T, *baotest.Server){
		"rotated": rotated, "deleted": deleted, "replaced": replaced, "trimmed": trimmed, "unfit": unfit,
		"policy": onlyPolicy, "operator": operator, "token": tokens, "renewal": renewal, "files": files, "settings": settings,
		"rotated while running": rotatedWhileRunning,
	} {
		t.Run(name, func(t *testing.T) { f(t, s) })
	}
}

func rotated(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	first := must(t, cfg)
	s.Set("transit/keys/"+cfg.Key+"/rotate", nil)
	_, err := open(t, cfg)
	refused(t, "rotated key", err, "transit/keys/"+cfg.Key, "rotated", "latest version is 2", "pinned to version 1", "keyVersion to 1")
	if fault.Of(err) == fault.Unavailable {
		t.Error("a rotated key counts as a matter of waiting")
	}
	if err := sign(t, first); err != nil {
		t.Errorf("a running store, which signs with version 1: %v", err)
	}
	cfg.KeyVersion = 1
	second := must(t, cfg)
	if !second.Authority().Certificate().Equal(first.Authority().Certificate()) {
		t.Error("with the version accepted, the authority is another")
	}
	s.Set("transit/keys/"+cfg.Key+"/config", map[string]any{"min_encryption_version": 2})
	_, err = open(t, cfg)
	refused(t, "version that may not sign", err, "version 1 may not sign")
}

// rotatedWhileRunning shows that a running store says so, and goes on.
func rotatedWhileRunning(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	var said lines
	store, err := openLog(t, cfg, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.Set("transit/keys/"+cfg.Key+"/rotate", nil)
	for range 2 {
		store.note(store.check(t.Context()))
	}
	if got := strings.Count(said.String(), "it was rotated"); got != 1 {
		t.Errorf("said %d times, want once:\n%s", got, &said)
	}
	if err := errors.Join(store.Ready(), sign(t, store)); err != nil {
		t.Errorf("after it: %v, want a store that signs", err)
	}
	s.Set("transit/keys/"+cfg.Key+"/config", map[string]any{"min_encryption_version": 2})
	store.note(store.check(t.Context()))
	refused(t, "ready with a version that may not sign", store.Ready(), "version 1 may not sign")
	refused(t, "a version that may not sign any more", sign(t, store), "less than the minimum encryption key version")
}

func deleted(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	first := must(t, cfg)
	s.Set("transit/keys/"+cfg.Key+"/config", map[string]any{"deletion_allowed": true})
	if _, err := s.Root.Logical().Delete("transit/keys/" + cfg.Key); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, cfg)
	refused(t, "deleted key", err, "transit/keys/"+cfg.Key, "does not exist", "backup")
	refused(t, "signing with it", sign(t, first), "transit/keys/"+cfg.Key)
}

func replaced(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	must(t, cfg)
	s.Set("transit/keys/"+cfg.Key+"/config", map[string]any{"deletion_allowed": true})
	if _, err := s.Root.Logical().Delete("transit/keys/" + cfg.Key); err != nil {
		t.Fatal(err)
	}
	s.Set("transit/keys/"+cfg.Key, map[string]any{"type": "ecdsa-p256"})
	_, err := open(t, cfg)
	refused(t, "key of the same name", err, "transit/keys/"+cfg.Key, "replaced", cfg.State)
}

func trimmed(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	must(t, cfg)
	for range 2 {
		s.Set("transit/keys/"+cfg.Key+"/rotate", nil)
	}
	s.Set("transit/keys/"+cfg.Key+"/config", map[string]any{"min_decryption_version": 2, "min_encryption_version": 2})
	s.Set("transit/keys/"+cfg.Key+"/trim", map[string]any{"min_available_version": 2})
	_, err := open(t, cfg)
	refused(t, "trimmed key", err, "transit/keys/"+cfg.Key, "version 1 is gone")
}

func unfit(t *testing.T, s *baotest.Server) {
	for name, c := range map[string]struct {
		make map[string]any
		want string
	}{
		"another type": {map[string]any{"type": "ed25519"}, `of type "ed25519"`},
		"RSA":          {map[string]any{"type": "rsa-2048"}, `of type "rsa-2048"`},
		"exportable":   {map[string]any{"type": "ecdsa-p256", "exportable": true}, "can leave Vault"},
		"backup":       {map[string]any{"type": "ecdsa-p256", "allow_plaintext_backup": true}, "can leave Vault"},
		"auto-rotated": {map[string]any{"type": "ecdsa-p256", "auto_rotate_period": "24h"}, "rotates by itself"},
	} {
		cfg := place(t, s)
		cfg.Key = "u" + rand.Text()
		cfg.TokenFile = s.TokenFor(t, baotest.Policy(cfg.Key), time.Hour)
		s.Set("transit/keys/"+cfg.Key, c.make)
		if d := describe(t, s, cfg.Key); name == "backup" && !strings.Contains(d, `"allow_plaintext_backup":true`) {
			s.Set("transit/keys/"+cfg.Key+"/config", map[string]any{"allow_plaintext_backup": true})
		}
		_, err := open(t, cfg)
		refused(t, name, err, "transit/keys/"+cfg.Key, c.want)
	}
	cfg := place(t, s)
	cfg.Key = "absent"
	cfg.TokenFile = s.TokenFor(t, baotest.Policy(cfg.Key), time.Hour)
	_, err := open(t, cfg)
	refused(t, "a key that nobody made", err, "transit/keys/absent", "make it (vault write transit/keys/absent type=ecdsa-p256)")
	cfg.KeyVersion, cfg.Key = 3, place(t, s).Key
	cfg.TokenFile = s.TokenFor(t, baotest.Policy(cfg.Key), time.Hour)
	_, err = open(t, cfg)
	refused(t, "a version that nobody made", err, "no version 3")
}

// onlyPolicy shows that the documented policy is enough, and that nothing less is.
func onlyPolicy(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	store := must(t, cfg)
	if err := sign(t, store); err != nil {
		t.Errorf("with the documented policy: %v", err)
	}
	for path, data := range map[string]map[string]any{
		"transit/keys/" + cfg.Key + "/rotate": nil,
		"transit/keys/" + cfg.Key + "/config": {"deletion_allowed": true},
		"transit/keys/other":                  {"type": "ecdsa-p256"},
		"transit/sign/other":                  {"input": "aaaa"},
		"transit/encrypt/" + cfg.Key:          {"plaintext": "aaaa"},
	} {
		_, err := store.client.Logical().Write(path, data)
		var answer *api.ResponseError
		if !errors.As(err, &answer) || answer.StatusCode != 403 {
			t.Errorf("the store's token may write %s: %v", path, err)
		}
	}
	keys, sign := fmt.Sprintf("path \"transit/keys/%s\" { capabilities = [\"read\"] }", cfg.Key), fmt.Sprintf("path \"transit/sign/%s\" { capabilities = [\"update\"] }", cfg.Key)
	for rules, want := range map[string]string{keys: "may not sign with it", sign: "may not read it"} {
		cfg.TokenFile = s.TokenFor(t, rules, time.Hour)
		_, err := open(t, cfg)
		refused(t, rules, err, "transit/keys/"+cfg.Key, want, cfg.TokenFile, "it needs the policy")
	}
}

// operator brings a certificate for the key that a root of his own has signed.
func operator(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	key := must(t, cfg).Authority().Certificate().PublicKey
	root, rootCert := operatorRoot(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	tmpl.Subject.CommonName = "mesh"
	der, err := x509.CreateCertificate(rand.Reader, tmpl, rootCert, key, root)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, c *x509.Certificate) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, issue.Encode(c), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg.Certificate, cfg.Roots, cfg.State = file("cert.pem", cert), file("root.pem", rootCert), filepath.Join(t.TempDir(), "none")
	a := must(t, cfg).Authority()
	if !bytes.Equal(a.ChainPEM(), issue.Encode(cert)) || !bytes.Equal(a.BundlePEM(), issue.Encode(rootCert)) {
		t.Errorf("chain %s bundle %s: want the operator's", a.ChainPEM(), a.BundlePEM())
	}
	s.Set("transit/keys/"+cfg.Key+"/rotate", nil)
	_, err = open(t, cfg)
	refused(t, "rotated under the operator's certificate", err, "rotated", cfg.Certificate)
	other := place(t, s)
	other.Certificate, other.Roots = cfg.Certificate, cfg.Roots
	_, err = open(t, other)
	refused(t, "certificate of another key", err, "transit/keys/"+other.Key, "does not have the public key of "+cfg.Certificate)
}

func files(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	must(t, cfg)
	info, err := os.Stat(cfg.State)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v; want 0600", cfg.State, info.Mode(), err)
	}
	other := place(t, s)
	other.State = cfg.State
	_, err = open(t, other)
	refused(t, "state of another key", err, cfg.State, "belongs to key transit/keys/"+cfg.Key)
	if err := os.WriteFile(cfg.State, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = open(t, cfg)
	refused(t, "damaged state", err, cfg.State, "damaged")
}

func settings(t *testing.T, s *baotest.Server) {
	good := place(t, s)
	for want, change := range map[string]func(*Config){
		"want https://host:port":             func(c *Config) { c.Address = "vault:8200" },
		"token would cross the network":      func(c *Config) { c.Address = "http://10.0.0.1:8200" },
		"mount and key must be given":        func(c *Config) { c.Key = "" },
		"tokenFile must be given":            func(c *Config) { c.TokenFile = "" },
		"timeout 0s":                         func(c *Config) { c.Timeout = 0 },
		"keyVersion -1":                      func(c *Config) { c.KeyVersion = -1 },
		"no certificate in it":               func(c *Config) { c.CAFile = c.TokenFile },
		"certificate signed by unknown":      func(c *Config) { c.CAFile = "" },
		"not valid for any names":            func(c *Config) { c.ServerName = "elsewhere" },
		"absent: no such file":               func(c *Config) { c.TokenFile = filepath.Join(t.TempDir(), "absent") },
		"transit-of-nobody/keys/" + good.Key: func(c *Config) { c.Mount = "transit-of-nobody" },
	} {
		cfg := good
		change(&cfg)
		_, err := open(t, cfg)
		refused(t, want, err, want)
	}
}

// TestVaultAway kills the server, hangs it and seals it, and has it back each time.
func TestVaultAway(t *testing.T) {
	s := baotest.Launch(t)
	cfg := place(t, s)
	cfg.Timeout = time.Second
	store := must(t, cfg)
	away := func(how string) {
		t.Helper()
		began := time.Now()
		if err := sign(t, store); fault.Of(err) != fault.Unavailable {
			t.Errorf("sign while Vault is %s: got %v, want unavailable", how, err)
		}
		if _, err := open(t, cfg); fault.Of(err) != fault.Unavailable {
			t.Errorf("start while Vault is %s: got %v, want unavailable", how, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("while Vault is %s the two refusals took %s", how, took)
		}
		store.note(store.check(t.Context()))
		refused(t, "ready while Vault is "+how, store.Ready(), "Vault at "+cfg.Address)
	}
	back := func(how string) {
		t.Helper()
		if err := sign(t, store); err != nil {
			t.Errorf("after it was %s: %v", how, err)
		}
		store.note(store.check(t.Context()))
		if err := store.Ready(); err != nil {
			t.Errorf("ready after it was %s: %v", how, err)
		}
		if again := must(t, cfg); !again.Authority().Certificate().Equal(store.Authority().Certificate()) {
			t.Errorf("after it was %s the authority is another", how)
		}
	}
	s.Stop()
	away("killed")
	s.Again()
	back("killed")

	s.Pause()
	away("hanging")
	s.Continue()
	back("hanging")

	if err := s.Root.Sys().Seal(); err != nil {
		t.Fatal(err)
	}
	away("sealed")
	s.Unseal()
	back("sealed")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := issue.Trial(store.Authority(), keystoretest.ID(t, "cluster.local"), store.Signer(ctx), time.Now())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("sign for a caller who is gone: got %v, want its context's end", err)
	}
}

// place makes a key and the settings for it.
func place(t *testing.T, s *baotest.Server) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Key = "k" + rand.Text()
	cfg.Address, cfg.CAFile = s.Addr, s.CA
	cfg.State = filepath.Join(t.TempDir(), "state", "vault.json")
	cfg.TokenFile = s.TokenFor(t, baotest.Policy(cfg.Key), time.Hour)
	s.Set("transit/keys/"+cfg.Key, map[string]any{"type": "ecdsa-p256"})
	return cfg
}

// describe returns what Vault says of a key, as the store sees it.
func describe(t *testing.T, s *baotest.Server, key string) string {
	t.Helper()
	secret, err := s.Root.Logical().ReadWithContext(t.Context(), "transit/keys/"+key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(secret.Data)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// operatorRoot is a root of the operator's own.
func operatorRoot(t *testing.T) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, cert, err := memory.Generate("cluster.local", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}
