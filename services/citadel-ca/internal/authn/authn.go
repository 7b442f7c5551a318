// Package authn decides who asks for a certificate. In: the identity of a verified
// client certificate, a join token, and what is known of that token. Out: a Caller,
// or why there is none. It holds no state and reads no clock; the ledger keeps tokens.
package authn

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// MaxToken bounds the text of a token, in bytes.
const MaxToken = 256

const (
	nameBytes   = 8
	secretBytes = 32
)

// Entropy is how many random bytes New takes.
const Entropy = nameBytes + secretBytes

// Token is a join token as its holder shows it. Its String is its name: the secret
// does not get into logs by accident.
type Token struct {
	name string
	hash [sha256.Size]byte
}

// New makes a token of random bytes and returns the text to hand out, which is kept
// nowhere.
func New(random [Entropy]byte) (Token, string) {
	text := hex.EncodeToString(random[:nameBytes]) + "." + base64.RawURLEncoding.EncodeToString(random[nameBytes:])
	return Token{hex.EncodeToString(random[:nameBytes]), sha256.Sum256([]byte(text))}, text
}

// ParseToken reads the text of a token. The error does not repeat it.
func ParseToken(text string) (Token, error) {
	name, secret, ok := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	if !ok || err != nil || len(raw) != secretBytes || !isName(name) || len(text) > MaxToken {
		return Token{}, fault.Unauthenticated.Errorf("join token: not in the form of a token of this authority")
	}
	return Token{name, sha256.Sum256([]byte(text))}, nil
}

func isName(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == nameBytes && strings.ToLower(s) == s
}

// Name is the public part, by which a token is found and named in logs.
func (t Token) Name() string { return t.name }

// Hash is the SHA-256 of the whole text.
func (t Token) Hash() [sha256.Size]byte { return t.hash }

// String returns the name.
func (t Token) String() string { return t.name }

// Record is what the authority remembers of a token. The zero Record is that of a
// token that nobody made.
type Record struct {
	Hash    [sha256.Size]byte
	ID      spiffe.ID
	Expires time.Time
	Used    bool
}

// Caller is who asks, and how that is known.
type Caller struct {
	ID spiffe.ID
	// Token is the name of the token that was shown, "" if a certificate was enough.
	Token string
}

// Certificate is the caller who showed a certificate of id and no token. Errors:
// fault.Unauthenticated for the zero ID.
func Certificate(id spiffe.ID) (Caller, error) {
	if id.IsZero() {
		return Caller{}, fault.Unauthenticated.Errorf("no proof of identity: show a mesh certificate or a join token")
	}
	return Caller{ID: id}, nil
}

// Holder is the caller who showed token t, of which rec is remembered, and perhaps a
// certificate of shown as well. Errors: fault.Unauthenticated for a token that is
// unknown, used or expired; fault.Denied if certificate and token disagree.
func Holder(t Token, rec Record, shown spiffe.ID, now time.Time) (Caller, error) {
	same := subtle.ConstantTimeCompare(t.hash[:], rec.Hash[:]) == 1
	switch {
	case !same || rec.ID.IsZero():
		return Caller{}, fault.Unauthenticated.Errorf("join token: not known here, or forgotten since it expired")
	case rec.Used:
		return Caller{}, fault.Unauthenticated.Errorf("join token %s: used before; a token is good for one certificate", t.name)
	case !now.Before(rec.Expires):
		return Caller{}, fault.Unauthenticated.Errorf("join token %s: expired at %s", t.name, rec.Expires.UTC().Format(time.RFC3339))
	case !shown.IsZero() && shown != rec.ID:
		return Caller{}, fault.Denied.Errorf("join token %s and client certificate are of two identities", t.name)
	}
	return Caller{ID: rec.ID, Token: t.name}, nil
}
