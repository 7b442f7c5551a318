// Package keystoretest holds what every store of an authority's key must do. In: a way
// to open one. Out: test failures.
package keystoretest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
)

// Store is what is tested.
type Store interface {
	Authority() issue.Authority
	Signer(ctx context.Context) crypto.Signer
	Ready() error
	Run(ctx context.Context) error
}

// Open opens the store that lies in one place, for an authority of that identity.
// Each call is a new start of the process.
type Open func(ctx context.Context, authority spiffe.ID) (Store, error)

// Run tests the store; place makes one that nobody has opened, in trust domain
// cluster.local.
func Run(t *testing.T, place func(t *testing.T) Open) {
	for name, check := range map[string]func(*testing.T, Open){
		"signs for its certificate":       signs,
		"stays the same":                  stays,
		"signs for many at once":          concurrent,
		"keeps to its trust domain":       domain,
		"runs until told to end":          runs,
		"signs a digest that was made":    digest,
		"its certificates fit together":   certificates,
		"its key is not in what it shows": quiet,
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) { check(t, place(t)) })
	}
}

// ID is the authority's identity in a trust domain.
func ID(t testing.TB, domain string) spiffe.ID {
	t.Helper()
	id, err := spiffe.New(domain, "outrigger-system", "citadel-ca")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func must(t *testing.T, open Open) Store {
	t.Helper()
	s, err := open(t.Context(), ID(t, "cluster.local"))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func signs(t *testing.T, open Open) {
	s := must(t, open)
	if err := issue.Trial(s.Authority(), ID(t, "cluster.local"), s.Signer(t.Context()), time.Now()); err != nil {
		t.Errorf("a certificate: %v", err)
	}
}

func stays(t *testing.T, open Open) {
	first, second := must(t, open), must(t, open)
	if a, b := first.Authority(), second.Authority(); !a.Certificate().Equal(b.Certificate()) {
		t.Errorf("after a restart the certificate is %s, was %s", b.Fingerprint(), a.Fingerprint())
	}
	if err := issue.Trial(first.Authority(), ID(t, "cluster.local"), second.Signer(t.Context()), time.Now()); err != nil {
		t.Errorf("the key of the second start under the certificate of the first: %v", err)
	}
}

func concurrent(t *testing.T, open Open) {
	s := must(t, open)
	const n = 8
	errs := make(chan error, n)
	for range n {
		go func() {
			errs <- issue.Trial(s.Authority(), ID(t, "cluster.local"), s.Signer(t.Context()), time.Now())
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Errorf("one of %d at once: %v", n, err)
		}
	}
}

func domain(t *testing.T, open Open) {
	must(t, open)
	_, err := open(t.Context(), ID(t, "example.org"))
	if err == nil || !strings.Contains(err.Error(), "cluster.local") || !strings.Contains(err.Error(), "example.org") {
		t.Errorf("opened for another trust domain: got %v, want a refusal that names both", err)
	}
	must(t, open)
}

func runs(t *testing.T, open Open) {
	s := must(t, open)
	if err := s.Ready(); err != nil {
		t.Errorf("open and not ready: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case err := <-done:
		t.Fatalf("Run ended by itself: %v", err)
	default:
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run at the end of its context: %v", err)
	}
}

func digest(t *testing.T, open Open) {
	s := must(t, open)
	key := s.Signer(t.Context())
	if !s.Authority().Holds(key.Public()) {
		t.Error("the key is not the certificate's")
	}
	sum := sha256.Sum256([]byte("words"))
	if sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil || len(sig) == 0 {
		t.Errorf("sign a SHA-256 digest: %d bytes, %v", len(sig), err)
	}
}

func certificates(t *testing.T, open Open) {
	a := must(t, open).Authority()
	roots, err := issue.Certificates(a.BundlePEM(), "bundle")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roots {
		if err := r.CheckSignatureFrom(r); err != nil {
			t.Errorf("root %s in the bundle did not sign itself: %v", r.Subject, err)
		}
	}
	if w := a.Window(); !w.NotBefore.Before(time.Now()) || !w.NotAfter.After(time.Now()) {
		t.Errorf("valid from %s to %s, which is not now", w.NotBefore, w.NotAfter)
	}
	if got := len(a.Fingerprint()); got != 64 {
		t.Errorf("fingerprint of %d characters, want 64", got)
	}
}

func quiet(t *testing.T, open Open) {
	s := must(t, open)
	text, ok := s.(interface{ String() string })
	if !ok {
		t.Fatalf("%T has no String: it would print its fields", s)
	}
	if got, want := text.String(), "authority "; !strings.HasPrefix(got, want) {
		t.Errorf("prints %q, want %q and its fingerprint", got, want)
	}
}
