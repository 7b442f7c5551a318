package authn

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

func id(t testing.TB, account string) spiffe.ID {
	t.Helper()
	id, err := spiffe.New("cluster.local", "default", account)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func token(first byte) (Token, string) {
	var random [Entropy]byte
	random[0], random[Entropy-1] = first, 7
	return New(random)
}

func TestTokenSurvivesItsText(t *testing.T) {
	made, text := token(1)
	got, err := ParseToken(text)
	if err != nil || got != made {
		t.Errorf("ParseToken(New) = %v, %v; want %v", got, err, made)
	}
	if len(text) > MaxToken {
		t.Errorf("text of %d bytes, the limit is %d", len(text), MaxToken)
	}
}

func TestTokenDoesNotPrintItsSecret(t *testing.T) {
	made, text := token(1)
	_, secret, _ := strings.Cut(text, ".")
	for _, verb := range []string{"%v", "%s", "%+v"} {
		if got := fmt.Sprintf(verb, made); got != made.Name() {
			t.Errorf("%s prints %q, want %q", verb, got, made.Name())
		}
	}
	_, err := ParseToken(text + "x")
	if err == nil || strings.Contains(err.Error(), secret[:8]) {
		t.Errorf("error %v: want one without the token's text", err)
	}
}

func TestParseTokenRefuses(t *testing.T) {
	_, good := token(1)
	for _, in := range []string{"", ".", "a.b", good[1:], strings.ToUpper(good), good + "A", good + "=", strings.Replace(good, ".", ":", 1), strings.Repeat("0", 1<<16)} {
		if _, err := ParseToken(in); fault.Of(err) != fault.Unauthenticated {
			t.Errorf("ParseToken(%.80q): %v, want unauthenticated", in, err)
		}
	}
}

func TestHolder(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	mine, _ := token(1)
	// One with the same name and another secret.
	_, text := token(1)
	forged, err := ParseToken(text[:len(text)-2] + "AA")
	if err != nil {
		t.Fatal(err)
	}
	good := Record{Hash: mine.Hash(), ID: id(t, "reviews"), Expires: now.Add(time.Second)}
	used := good
	used.Used = true
	for name, c := range map[string]struct {
		token Token
		rec   Record
		shown spiffe.ID
		now   time.Time
		kind  fault.Kind
		want  string // of the error; "" is success
	}{
		"good":                          {token: mine, rec: good, now: now},
		"good with its own certificate": {token: mine, rec: good, shown: id(t, "reviews"), now: now},
		"with another's certificate":    {token: mine, rec: good, shown: id(t, "ratings"), now: now, kind: fault.Denied, want: "two identities"},
		"unknown":                       {token: mine, now: now, kind: fault.Unauthenticated, want: "not known"},
		"another secret":                {token: forged, rec: good, now: now, kind: fault.Unauthenticated, want: "not known"},
		"used":                          {token: mine, rec: used, now: now, kind: fault.Unauthenticated, want: "used before"},
		"another secret of a used one":  {token: forged, rec: used, now: now, kind: fault.Unauthenticated, want: "not known"},
		"expired":                       {token: mine, rec: good, now: good.Expires, kind: fault.Unauthenticated, want: "expired at 2026-01-02T03:04:06Z"},
	} {
		got, err := Holder(c.token, c.rec, c.shown, c.now)
		if c.want == "" {
			if want := (Caller{ID: good.ID, Token: mine.Name()}); err != nil || got != want {
				t.Errorf("%s: got %v, %v; want %v", name, got, err, want)
			}
			continue
		}
		if err == nil || fault.Of(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v (%s), want %s with %q", name, err, fault.Of(err), c.kind, c.want)
		}
	}
}

func TestCertificate(t *testing.T) {
	if got, err := Certificate(id(t, "reviews")); err != nil || got != (Caller{ID: id(t, "reviews")}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := Certificate(spiffe.ID{}); fault.Of(err) != fault.Unauthenticated {
		t.Errorf("no certificate: %v, want unauthenticated", err)
	}
}
