package vault

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/vault/baotest"
)

func tokens(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	store := must(t, cfg)
	if err := os.Chmod(cfg.TokenFile, 0o644); err != nil { //nolint:gosec // too open on purpose
		t.Fatal(err)
	}
	_, err := open(t, cfg)
	refused(t, "token that others can read", err, cfg.TokenFile, "mode 0644")
	// Whoever looks after tokens puts a new one into the file and revokes the old.
	if err := s.Root.Auth().Token().RevokeTree(store.token.text); err != nil {
		t.Fatal(err)
	}
	refused(t, "revoked token", sign(t, store), "may not sign with it, or has ended")
	fresh, err := os.ReadFile(s.TokenFor(t, baotest.Policy(cfg.Key), time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(cfg.TokenFile, fresh, 0o600), os.Chmod(cfg.TokenFile, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := sign(t, store); err != nil {
		t.Errorf("after a new token in the file: %v", err)
	}
	for text, want := range map[string]string{"": "does not hold a token", "two words": "does not hold a token", "hvs.nonsense": "may not read it"} {
		if err := os.WriteFile(cfg.TokenFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, cfg)
		refused(t, text, err, want)
		if text != "" && err != nil && strings.Contains(err.Error(), text) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func renewal(t *testing.T, s *baotest.Server) {
	cfg := place(t, s)
	cfg.TokenFile = s.TokenFor(t, baotest.Policy(cfg.Key), time.Minute, "default")
	store := must(t, cfg)
	before := s.Ends(store.token.text)
	store.token.tend(t.Context(), store.log)
	if after := s.Ends(store.token.text); !after.After(before) {
		t.Errorf("the token ends at %s, and ended at %s before it was renewed", after, before)
	}
	if in := time.Until(store.token.renewAt); in <= 25*time.Second || in > 30*time.Second {
		t.Errorf("a token of a minute is renewed again in %s, want half a minute", in)
	}
	var said lines
	cfg.TokenFile = s.TokenFor(t, baotest.Policy(cfg.Key), time.Hour) // without "default"
	store, err := openLog(t, cfg, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		store.token.renewAt = time.Time{}
		store.token.tend(t.Context(), store.log)
	}
	if got := strings.Count(said.String(), "vault token cannot be renewed"); got != 1 {
		t.Errorf("that the token cannot be renewed is said %d times, want once:\n%s", got, &said)
	}
}
