package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	cav1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/ca/v1"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/memory"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/ledger"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/policy"
)

// breakable is a store whose key can be away, as one in Vault can.
type breakable struct {
	*memory.Store
	mu   sync.Mutex
	away error
}

func (b *breakable) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = err
}

func (b *breakable) Signer(ctx context.Context) crypto.Signer {
	return awaySigner{b, b.Store.Signer(ctx)}
}

type awaySigner struct {
	b *breakable
	crypto.Signer
}

func (a awaySigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	if a.b.away != nil {
		return nil, a.b.away
	}
	return a.Signer.Sign(r, digest, opts)
}

// bench is a server with all that it needs; its clock stands until the test moves it.
type bench struct {
	*Server
	t     *testing.T
	store *breakable
	log   *bytes.Buffer
	clock time.Time
}

func id(t testing.TB, account string) spiffe.ID {
	t.Helper()
	id, err := spiffe.New("cluster.local", "default", account)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newBench(t *testing.T) *bench {
	t.Helper()
	own, err := spiffe.New("cluster.local", "outrigger-system", "citadel-ca")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, log: &bytes.Buffer{}, clock: time.Now()}
	held, err := memory.Create(own, b.clock)
	if err != nil {
		t.Fatal(err)
	}
	b.store = &breakable{Store: held}
	rules, err := policy.NewRules(own, time.Hour, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	book, err := ledger.Open(t.TempDir(), "cluster.local", b.clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	})
	tel := telemetry.Discard()
	tel.Log = slog.New(slog.NewTextHandler(b.log, nil))
	custody := NewCustody(nil, tel.Log)
	custody.set(b.store)
	b.Server, err = New(Config{Rules: rules, Domain: "cluster.local", Keystore: "memory", Rate: 1, Burst: 20}, custody, book,
		func() time.Time { return b.clock }, tel)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// csrOf is a request for id, with a key of its own.
func csrOf(t testing.TB, id spiffe.ID) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func (b *bench) token(id spiffe.ID) string {
	b.t.Helper()
	res, err := b.CreateJoinToken(b.t.Context(), &cav1.CreateJoinTokenRequest{Id: id.String(), Ttl: durationpb.New(time.Minute)})
	if err != nil {
		b.t.Fatal(err)
	}
	return res.GetToken()
}

// from is a call by a caller at an address, with a certificate of id or without.
func (b *bench) from(id spiffe.ID) context.Context {
	return rpc.WithCaller(b.t.Context(), rpc.Caller{ID: id, Address: "10.77.1.9:4711"})
}

func (b *bench) refused(what string, err error, kind fault.Kind, want string) {
	b.t.Helper()
	if err == nil || fault.Of(err) != kind || !strings.Contains(err.Error(), want) {
		b.t.Errorf("%s: got %v (%s), want %s with %q", what, err, fault.Of(err), kind, want)
	}
}

func TestSignByTokenThenByCertificate(t *testing.T) {
	b := newBench(t)
	reviews, ratings := id(t, "reviews"), id(t, "ratings")
	token := b.token(reviews)

	_, err := b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, ratings), JoinToken: token})
	b.refused("another identity by token", err, fault.Denied, reviews.String()+" asked for a certificate of "+ratings.String())
	_, err = b.Sign(b.from(ratings), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token})
	b.refused("token with another's certificate", err, fault.Denied, "two identities")

	res, err := b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token})
	if err != nil {
		t.Fatalf("first certificate: %v", err)
	}
	chain, err := issue.Certificates([]byte(res.GetChainPem()), "chain")
	if err != nil || len(chain) != 1 {
		t.Fatalf("chain of %d, %v; want the leaf alone below a root", len(chain), err)
	}
	if got, err := spiffe.FromCertificate(chain[0]); err != nil || got != reviews {
		t.Errorf("certificate of %s, %v; want %s", got, err, reviews)
	}
	if got := res.GetNotAfter().AsTime(); !got.Equal(chain[0].NotAfter) || got.Sub(b.clock) > time.Hour {
		t.Errorf("ends at %s, certificate at %s; want an hour from %s", got, chain[0].NotAfter, b.clock)
	}

	_, err = b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token})
	b.refused("second use", err, fault.Unauthenticated, "used before")
	_, err = b.Sign(b.from(reviews), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token})
	b.refused("second use with a certificate", err, fault.Unauthenticated, "used before")
	if _, err := b.Sign(b.from(reviews), &cav1.SignRequest{CsrPem: csrOf(t, reviews)}); err != nil {
		t.Errorf("renewal by certificate: %v", err)
	}
	_, err = b.Sign(b.from(reviews), &cav1.SignRequest{CsrPem: csrOf(t, ratings)})
	b.refused("another identity by certificate", err, fault.Denied, "asked for")
	_, err = b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews)})
	b.refused("no proof", err, fault.Unauthenticated, "no proof")
	_, err = b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: "guess"})
	b.refused("rubbish for a token", err, fault.Unauthenticated, "join token")
	_, err = b.Sign(b.from(reviews), &cav1.SignRequest{CsrPem: "rubbish"})
	b.refused("rubbish for a request", err, fault.Invalid, "csr")
	_, err = b.Sign(b.from(reviews), &cav1.SignRequest{CsrPem: csrOf(t, reviews), Ttl: durationpb.New(time.Second)})
	b.refused("a second", err, fault.Invalid, "ttl")
	_, err = b.Sign(b.from(reviews), &cav1.SignRequest{CsrPem: csrOf(t, reviews), Ttl: &durationpb.Duration{Seconds: 1, Nanos: -1}})
	b.refused("bad duration", err, fault.Invalid, "ttl")

	late := b.token(reviews)
	b.clock = b.clock.Add(time.Minute)
	_, err = b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: late})
	b.refused("expired", err, fault.Unauthenticated, "expired at")

	st, err := b.GetStatus(t.Context(), nil)
	if err != nil || st.GetIssued() != 2 || st.GetRefused() != 11 || st.GetKeystore() != "memory" ||
		st.GetKeyFingerprint() != b.store.Authority().Fingerprint() || st.GetTrustDomain() != "cluster.local" || !st.GetCaNotAfter().IsValid() {
		t.Errorf("status %v, %v; want 2 issued, 11 refused", st, err)
	}
}

func TestLogHasNamesOfTokensAndNotTheirText(t *testing.T) {
	b := newBench(t)
	reviews := id(t, "reviews")
	token := b.token(reviews)
	name, secret, _ := strings.Cut(token, ".")
	if _, err := b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{token, token + "x", name + "." + secret[:20]} {
		_, err := b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: text})
		if err == nil || strings.Contains(err.Error(), secret[:20]) {
			t.Errorf("error %v: want one without the token", err)
		}
	}
	log := b.log.String()
	for _, want := range []string{"msg=\"join token made\"", "msg=\"certificate issued\"", "msg=\"certificate refused\"", "token=" + name,
		"id=" + reviews.String(), "serial=", "not_after=", "address=10.77.1.9:4711", "kind=unauthenticated"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, secret[:20]) {
		t.Errorf("log shows a token:\n%s", log)
	}
}

func TestAKeyThatIsAwayCostsNoTokenAndTellsNothing(t *testing.T) {
	b := newBench(t)
	reviews := id(t, "reviews")
	token := b.token(reviews)
	b.store.fail(errors.New("dial 10.9.8.7: refused"))
	_, err := b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token})
	b.refused("key away", err, fault.Unavailable, "key cannot be used now")
	if strings.Contains(err.Error(), "10.9.8.7") {
		t.Errorf("a caller is told %v", err)
	}
	if !strings.Contains(b.log.String(), "10.9.8.7") {
		t.Errorf("the log does not say why:\n%s", b.log)
	}
	b.store.fail(nil)
	if _, err := b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token}); err != nil {
		t.Errorf("the same token with the key back: %v", err)
	}
}

func TestEachCallerHasALimit(t *testing.T) {
	b := newBench(t)
	call := func(ctx context.Context) error {
		_, err := b.Sign(ctx, &cav1.SignRequest{CsrPem: "rubbish"})
		return err
	}
	for range 20 {
		b.refused("within the limit", call(b.from(spiffe.ID{})), fault.Unauthenticated, "")
	}
	b.refused("over the limit", call(b.from(spiffe.ID{})), fault.Exhausted, "1 a second, 20 at once")
	b.refused("an identity from the same address", call(b.from(id(t, "reviews"))), fault.Invalid, "")
	local := rpc.WithCaller(t.Context(), rpc.Caller{Local: true})
	for range 30 {
		b.refused("by the Unix socket", call(local), fault.Unauthenticated, "")
	}
	b.clock = b.clock.Add(time.Second)
	b.refused("a second later", call(b.from(spiffe.ID{})), fault.Unauthenticated, "")
	b.refused("and again", call(b.from(spiffe.ID{})), fault.Exhausted, "")
}

func TestCreateJoinTokenRefuses(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		id   string
		ttl  time.Duration
		kind fault.Kind
		want string
	}{
		{"", 0, fault.Invalid, "SPIFFE ID"},
		{"spiffe://example.org/ns/default/sa/reviews", 0, fault.Invalid, "not of trust domain"},
		{"spiffe://cluster.local/ns/outrigger-system/sa/citadel-ca", 0, fault.Denied, "this authority itself"},
		{"spiffe://cluster.local/ns/default/sa/reviews", 25 * time.Hour, fault.Invalid, "at most 24h"},
	} {
		_, err := b.CreateJoinToken(t.Context(), &cav1.CreateJoinTokenRequest{Id: c.id, Ttl: durationpb.New(c.ttl)})
		b.refused(c.id, err, c.kind, c.want)
	}
}

func TestBundle(t *testing.T) {
	b := newBench(t)
	res, err := b.GetBundle(t.Context(), nil)
	if err != nil || res.GetBundlePem() != string(b.store.Authority().BundlePEM()) || res.GetTrustDomain() != "cluster.local" {
		t.Errorf("got %v, %v", res, err)
	}
}
