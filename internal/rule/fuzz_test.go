package rule

import (
	"strings"
	"testing"
)

// FuzzTranslate02: what the translation accepts, CEL accepts too, unless a limit of CEL
// is in the way; nothing panics.
func FuzzTranslate02(f *testing.F) {
	for _, s := range []string{
		`source.labels["version"] | "unknown"`, `a.b == "x" && (c | "y") != "z"`, `response.duration | "0ms"`,
		`match(source.user, "*x")`, `ip("::1") == source.ip`, "`\\`", `"\u2603"`, `((1))`, `1e309 | 2.0`, `"10s" == "10s"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := Translate02(text)
		if err != nil || out == "" {
			return
		}
		if _, err := Compile(out, Any); err != nil && !strings.Contains(err.Error(), "limit") &&
			!strings.Contains(err.Error(), "at most") {
			t.Errorf("%q became %q, which is refused: %v", text, out, err)
		}
	})
}

// FuzzCompile: an accepted expression evaluates to a value or an error, whatever is
// absent; nothing panics.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		`source.labels["a"] == "b"`, `first(source.user, "x")`, `request.headers.exists(k, k == "x")`,
		`ip("10.0.0.1") == source.ip`, `[1,2].all(x, x > 0)`, `"a".matches("a+")`, `{"a": "b"}["c"]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Compile(text, Any)
		if err != nil {
			return
		}
		src := Map{"request.headers": map[string]string{"a": "b"}, "source.user": "u", "response.code": int64(200)}
		if v, err := p.Eval(src); err == nil && v == nil {
			t.Errorf("%q: neither value nor error", text)
		}
		MayConcern(p, nil)
	})
}
