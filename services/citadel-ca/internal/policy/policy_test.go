package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/authn"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/csr"
)

func id(t *testing.T, text string) spiffe.ID {
	t.Helper()
	id, err := spiffe.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

const (
	authority = "spiffe://cluster.local/ns/outrigger-system/sa/citadel-ca"
	reviews   = "spiffe://cluster.local/ns/default/sa/reviews"
	ratings   = "spiffe://cluster.local/ns/default/sa/ratings"
	foreign   = "spiffe://example.org/ns/default/sa/reviews"
)

func rules(t *testing.T) Rules {
	t.Helper()
	r, err := NewRules(id(t, authority), 24*time.Hour, 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func at(s string) time.Time {
	t, err := time.Parse(time.DateTime, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDecide(t *testing.T) {
	now := at("2026-06-15 12:00:00").Add(300 * time.Millisecond)
	for name, c := range map[string]struct {
		caller, asks  string
		ttl           time.Duration
		begin, end    string // of the signing certificate
		before, after string // of the grant
		kind          fault.Kind
		refusal       string
	}{
		"default":        {caller: reviews, asks: reviews, before: "2026-06-15 11:59:00", after: "2026-06-16 12:00:00"},
		"asked for":      {caller: reviews, asks: reviews, ttl: time.Hour, before: "2026-06-15 11:59:00", after: "2026-06-15 13:00:00"},
		"a minute":       {caller: reviews, asks: reviews, ttl: time.Minute, before: "2026-06-15 11:59:45", after: "2026-06-15 12:01:00"},
		"the longest":    {caller: reviews, asks: reviews, ttl: 9999 * time.Hour, before: "2026-06-15 11:59:00", after: "2026-06-17 12:00:00"},
		"ends with CA":   {caller: reviews, asks: reviews, end: "2026-06-15 12:30:00", before: "2026-06-15 11:59:00", after: "2026-06-15 12:30:00"},
		"begins with CA": {caller: reviews, asks: reviews, begin: "2026-06-15 11:59:50", before: "2026-06-15 11:59:50", after: "2026-06-16 12:00:00"},
		"too short":      {caller: reviews, asks: reviews, ttl: 59 * time.Second, kind: fault.Invalid, refusal: "want 1m0s or more"},
		"negative":       {caller: reviews, asks: reviews, ttl: -time.Hour, kind: fault.Invalid, refusal: "want 1m0s or more"},
		"another":        {caller: reviews, asks: ratings, kind: fault.Denied, refusal: reviews + " asked for a certificate of " + ratings},
		"another domain": {caller: foreign, asks: foreign, kind: fault.Denied, refusal: "not of trust domain cluster.local"},
		"CA at its end":  {caller: reviews, asks: reviews, end: "2026-06-15 12:00:30", kind: fault.Precondition, refusal: "ends at 2026-06-15T12:00:30Z"},
		"CA not begun":   {caller: reviews, asks: reviews, begin: "2026-06-15 12:00:30", kind: fault.Precondition, refusal: "begins at 2026-06-15T12:00:30Z"},
	} {
		ca := Window{at("2020-01-01 00:00:00"), at("2030-01-01 00:00:00")}
		if c.begin != "" {
			ca.NotBefore = at(c.begin)
		}
		if c.end != "" {
			ca.NotAfter = at(c.end)
		}
		got, err := rules(t).Decide(authn.Caller{ID: id(t, c.caller)}, csr.Request{ID: id(t, c.asks), Key: name}, c.ttl, ca, now)
		if c.refusal != "" {
			if err == nil || fault.Of(err) != c.kind || !strings.Contains(err.Error(), c.refusal) {
				t.Errorf("%s: got %v (%s), want %s with %q", name, err, fault.Of(err), c.kind, c.refusal)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := Grant{ID: id(t, c.asks), Key: name, NotBefore: at(c.before), NotAfter: at(c.after)}
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b spiffe.ID) bool { return a == b })); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

// Whoever renews at half life, less a tenth, must not be asking all the time.
func TestHalfLifeLiesAheadForEveryTTL(t *testing.T) {
	now := at("2026-06-15 12:00:00")
	for ttl := MinTTL; ttl < 30*time.Minute; ttl += 7 * time.Second {
		g, err := rules(t).Own(nil, ttl, Window{at("2020-01-01 00:00:00"), at("2030-01-01 00:00:00")}, now)
		if err != nil {
			t.Fatal(err)
		}
		life := g.NotAfter.Sub(g.NotBefore)
		if pause := g.NotBefore.Add(life*4/10 - time.Second).Sub(now); pause < ttl/5 {
			t.Errorf("ttl %s: renewed after %s, want a fifth of it or more", ttl, pause)
		}
	}
}

func TestToken(t *testing.T) {
	now := at("2026-06-15 12:00:00")
	for name, c := range map[string]struct {
		id   string
		ttl  time.Duration
		want string // expiry
		kind fault.Kind
	}{
		"default":        {id: reviews, want: "2026-06-15 12:05:00"},
		"a day":          {id: reviews, ttl: 24 * time.Hour, want: "2026-06-16 12:00:00"},
		"more":           {id: reviews, ttl: 24*time.Hour + 1, kind: fault.Invalid},
		"negative":       {id: reviews, ttl: -1, kind: fault.Invalid},
		"another domain": {id: foreign, kind: fault.Invalid},
		"ourselves":      {id: authority, kind: fault.Denied},
	} {
		got, err := rules(t).Token(id(t, c.id), c.ttl, now)
		if c.want == "" {
			if err == nil || fault.Of(err) != c.kind {
				t.Errorf("%s: got %v, want %s", name, err, c.kind)
			}
			continue
		}
		if err != nil || !got.Expires.Equal(at(c.want)) || got.ID.String() != c.id || got.Used {
			t.Errorf("%s: got %+v, %v; want %s, expiring at %s", name, got, err, c.id, c.want)
		}
	}
}

func TestNewRulesRefuses(t *testing.T) {
	for name, c := range map[string]struct{ ttl, maxTTL time.Duration }{
		"under a minute":   {time.Second, time.Hour},
		"over the longest": {2 * time.Hour, time.Hour},
		"nothing":          {0, 0},
	} {
		if _, err := NewRules(id(t, authority), c.ttl, c.maxTTL); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
