// Package policy decides what certificate a caller gets. In: who asks, what is asked,
// the rules, the signing certificate's validity, and the time. Out: a Grant, or the
// refusal. It signs nothing and looks at nothing else.
package policy

import (
	"crypto"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/authn"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/csr"
)

// Rules are the settings, checked. Make them with NewRules.
type Rules struct {
	authority   spiffe.ID
	domain      string
	ttl, maxTTL time.Duration
}

// Limits that no setting changes.
const (
	// MinTTL is the shortest life of a certificate.
	MinTTL = time.Minute
	// MaxTokenTTL is the longest life of a join token.
	MaxTokenTTL = 24 * time.Hour
	// backdate is how far before now a certificate begins, for peers whose clock is
	// behind ours.
	backdate = time.Minute
	// tokenTTL is a join token's life if none is asked for.
	tokenTTL = 5 * time.Minute
)

// NewRules checks the default and the longest life of a certificate. The trust domain
// is that of the authority's own identity.
func NewRules(authority spiffe.ID, ttl, maxTTL time.Duration) (Rules, error) {
	if ttl < MinTTL || ttl > maxTTL {
		return Rules{}, fmt.Errorf("ttl %s: want %s to maxTTL, %s", ttl, MinTTL, maxTTL)
	}
	return Rules{domain: authority.TrustDomain(), authority: authority, ttl: ttl, maxTTL: maxTTL}, nil
}

// Window is when the signing certificate is valid.
type Window struct{ NotBefore, NotAfter time.Time }

// Grant is a certificate to be made: for whom, for which key, and when it is valid.
type Grant struct {
	ID                  spiffe.ID
	Key                 crypto.PublicKey
	NotBefore, NotAfter time.Time
}

// Decide grants r to its caller. ttl is the life asked for: 0 means the default, more
// than the longest gives the longest. The grant ends no later than the signing
// certificate. Errors: fault.Denied for an identity that is not the caller's,
// fault.Invalid for a ttl under MinTTL, fault.Precondition when the signing
// certificate is not valid or ends too soon.
func (r Rules) Decide(caller authn.Caller, req csr.Request, ttl time.Duration, ca Window, now time.Time) (Grant, error) {
	if caller.ID != req.ID {
		return Grant{}, fault.Denied.Errorf("%s asked for a certificate of %s", caller.ID, req.ID)
	}
	if req.ID.TrustDomain() != r.domain {
		return Grant{}, fault.Denied.Errorf("%s is not of trust domain %s", req.ID, r.domain)
	}
	return r.validity(Grant{ID: req.ID, Key: req.Key}, ttl, ca, now)
}

// Own grants the authority a certificate of its own, for as long as Decide would.
func (r Rules) Own(key crypto.PublicKey, ttl time.Duration, ca Window, now time.Time) (Grant, error) {
	return r.validity(Grant{ID: r.authority, Key: key}, ttl, ca, now)
}

func (r Rules) validity(g Grant, ttl time.Duration, ca Window, now time.Time) (Grant, error) {
	if ttl == 0 {
		ttl = r.ttl
	}
	if ttl < MinTTL {
		return Grant{}, fault.Invalid.Errorf("ttl %s: want %s or more", ttl, MinTTL)
	}
	ttl = min(ttl, r.maxTTL)
	if now.Before(ca.NotBefore) {
		return Grant{}, fault.Precondition.Errorf("the authority's certificate begins at %s: check its clock", stamp(ca.NotBefore))
	}
	if ca.NotAfter.Sub(now) < MinTTL {
		return Grant{}, fault.Precondition.Errorf("the authority's certificate ends at %s: it needs a new one", stamp(ca.NotAfter))
	}
	// A quarter at most, so that half of a short life does not lie in the past, where
	// everybody who renews at half life would be asking without a pause.
	g.NotBefore = latest(now.Add(-min(backdate, ttl/4)), ca.NotBefore).UTC().Truncate(time.Second)
	g.NotAfter = earliest(now.Add(ttl), ca.NotAfter).UTC().Truncate(time.Second)
	return g, nil
}

// Token decides on a join token for id: when it expires. ttl 0 means five minutes.
// Errors: fault.Invalid for a life out of range or an identity of another trust
// domain; fault.Denied for the authority's own identity, which it gives itself.
func (r Rules) Token(id spiffe.ID, ttl time.Duration, now time.Time) (authn.Record, error) {
	if ttl == 0 {
		ttl = tokenTTL
	}
	switch {
	case ttl < 0 || ttl > MaxTokenTTL:
		return authn.Record{}, fault.Invalid.Errorf("ttl %s of a join token: want more than 0 and at most %s", ttl, MaxTokenTTL)
	case id.TrustDomain() != r.domain:
		return authn.Record{}, fault.Invalid.Errorf("%s is not of trust domain %s", id, r.domain)
	case id == r.authority:
		return authn.Record{}, fault.Denied.Errorf("%s is this authority itself, which needs no token", id)
	}
	return authn.Record{ID: id, Expires: now.Add(ttl).UTC()}, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
