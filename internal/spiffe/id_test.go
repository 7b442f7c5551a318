package spiffe

import (
	"crypto/x509"
	"net/url"
	"testing"
)

func TestParse(t *testing.T) {
	for in, ok := range map[string]bool{
		"spiffe://cluster.local/ns/default/sa/reviews": true,
		"spiffe://cluster.local/ns/default/sa/a.b-c_D": true,
		"spiffe://Cluster.local/ns/default/sa/x":       false,
		"spiffe://cluster.local/ns/default/sa/":        false,
		"spiffe://cluster.local/ns/default/sa/..":      false,
		"spiffe://cluster.local/ns/default/sa/x/y":     false,
		"spiffe://cluster.local/ns/default/sa/x?y":     false,
		"spiffe://a:80/ns/default/sa/x":                false,
		"https://cluster.local/ns/default/sa/x":        false,
		"":                                             false,
	} {
		id, err := Parse(in)
		if (err == nil) != ok {
			t.Errorf("Parse(%q): err %v, want ok %v", in, err, ok)
		}
		if ok && id.String() != in {
			t.Errorf("Parse(%q).String() = %q", in, id)
		}
	}
}

func TestFromCertificateWantsOneURI(t *testing.T) {
	id, err := New("cluster.local", "default", "ratings")
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromCertificate(&x509.Certificate{URIs: []*url.URL{id.URL()}})
	if err != nil || got != id {
		t.Errorf("got %v, %v; want %v", got, err, id)
	}
	for _, uris := range [][]*url.URL{nil, {id.URL(), id.URL()}} {
		if _, err := FromCertificate(&x509.Certificate{URIs: uris}); err == nil {
			t.Errorf("%d URIs: no error", len(uris))
		}
	}
}
