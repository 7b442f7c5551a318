// Package spiffe holds the identities of the mesh: parsing, printing, and reading
// them from certificates. In: text or a certificate. Out: an ID that cannot be wrong.
// It verifies no signature and does no I/O.
//
// Source: SPIFFE-ID and X.509-SVID specifications, https://spiffe.io/docs/latest/spiffe-specs/.
package spiffe

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

// ID is spiffe://<trust domain>/ns/<namespace>/sa/<account>. The zero ID is no
// identity. IDs are comparable.
type ID struct {
	domain, namespace, account string
}

// New returns the ID of an account. Errors: a part that is empty or has a character
// outside of the SPIFFE alphabet.
func New(domain, namespace, account string) (ID, error) {
	if !isDomain(domain) {
		return ID{}, fmt.Errorf("trust domain %q: want lower-case letters, digits, '.', '-', '_', 1 to 255 of them", domain)
	}
	for _, s := range []string{namespace, account} {
		if !isSegment(s) {
			return ID{}, fmt.Errorf("%q: want letters, digits, '.', '-', '_', 1 to 253 of them", s)
		}
	}
	return ID{domain, namespace, account}, nil
}

// Parse reads the canonical text form.
func Parse(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok {
		return ID{}, fmt.Errorf("%q is not a SPIFFE ID: want spiffe://<trust domain>/ns/<namespace>/sa/<account>", s)
	}
	p := strings.Split(rest, "/")
	if len(p) != 5 || p[1] != "ns" || p[3] != "sa" {
		return ID{}, fmt.Errorf("%q: want spiffe://<trust domain>/ns/<namespace>/sa/<account>", s)
	}
	id, err := New(p[0], p[2], p[4])
	if err != nil {
		return ID{}, fmt.Errorf("SPIFFE ID %q: %w", s, err)
	}
	return id, nil
}

// FromCertificate returns the ID in a leaf: exactly one URI SAN, as X.509-SVID
// section 2 demands.
func FromCertificate(c *x509.Certificate) (ID, error) {
	if len(c.URIs) != 1 {
		return ID{}, fmt.Errorf("certificate has %d URI SANs, want 1", len(c.URIs))
	}
	return Parse(c.URIs[0].String())
}

// String returns the canonical text, "" for the zero ID.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return "spiffe://" + id.domain + "/ns/" + id.namespace + "/sa/" + id.account
}

// URL returns the ID as it stands in a certificate.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.domain, Path: "/ns/" + id.namespace + "/sa/" + id.account}
}

// IsZero reports whether id is no identity.
func (id ID) IsZero() bool { return id == ID{} }

// TrustDomain returns the part behind spiffe://.
func (id ID) TrustDomain() string { return id.domain }

// Namespace returns the account's namespace.
func (id ID) Namespace() string { return id.namespace }

// Account returns the account's name.
func (id ID) Account() string { return id.account }

func isDomain(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_", r)
	}) < 0
}

func isSegment(s string) bool {
	if s == "" || len(s) > 253 || s == "." || s == ".." {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_", r)
	}) < 0
}
