package bus

import (
	"regexp"
	"testing"
)

var kvKey = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)

func TestKeyPath(t *testing.T) {
	for _, c := range []struct {
		key  Key
		want string
	}{
		{Key{"RouteRule", "default", "reviews"}, "RouteRule.default.reviews"},
		{Key{"Service", "", "a.b"}, "Service.=.a=2Eb"},
		{Key{"Rule", "x", "A_b-c"}, "Rule.x.A_b-c"},
		{Key{"Rule", "x", "*>= ä"}, "Rule.x.=2A=3E=3D=20=C3=A4"},
	} {
		got := c.key.Path()
		if got != c.want {
			t.Errorf("%v: path %q, want %q", c.key, got, c.want)
		}
		if back, err := ParsePath(got); err != nil || back != c.key {
			t.Errorf("%q: parsed %v, %v; want %v", got, back, err, c.key)
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, path := range []string{
		"", "a", "a.b", "a.b.c.d", "a.b.", "a.b.=2", "a.b.=2e", "a.b.=ZZ", "a.b.=61", "a.b.c d", "a.b.*", "a.b.>",
	} {
		if k, err := ParsePath(path); err == nil {
			t.Errorf("%q: accepted as %v", path, k)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("Rule", "default", "a.b")
	f.Add("", "=", "\x00\xff")
	f.Fuzz(func(t *testing.T, kind, namespace, name string) {
		k := Key{kind, namespace, name}
		p := k.Path()
		if !kvKey.MatchString(p) {
			t.Errorf("%q: path %q is no KV key", k, p)
		}
		if back, err := ParsePath(p); err != nil || back != k {
			t.Errorf("%q: path %q gave %q, %v", k, p, back, err)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	f.Add("Rule.default.a=2Eb")
	f.Fuzz(func(t *testing.T, path string) {
		if k, err := ParsePath(path); err == nil && k.Path() != path {
			t.Errorf("%q: accepted as %q, which is written %q", path, k, k.Path())
		}
	})
}
