package ingest

import (
	"regexp/syntax"
	"strings"
	"testing"
)

func TestRegexThatProxiesTake(t *testing.T) {
	for text, want := range map[string]string{
		`^(.*?;)?(user=jason)(;.*)?$`:      "",
		`[a-z]{200}`:                       "",
		`\Q\p{L}\E[^a]+\\p`:                "",
		`\x41\x{0041}`:                     "",
		`(a`:                               "no regular expression of RE2: missing closing )",
		`\p{Letter}+`:                      `\p: not supported by proxies`,
		`\PN`:                              `\P: not supported by proxies`,
		`\x{e9}`:                           `\x: not supported by proxies`,
		`\xe9`:                             `\x: not supported by proxies`,
		`é+`:                               "beyond ASCII",
		`[a-z]{1000}`:                      "too large",
		`((a{10}){10}){10}`:                "too large",
		strings.Repeat("[acegikmoqs]", 90): "too large",
	} {
		err := regex(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// The counts are those that Envoy 1.40 names when its limit is set to nothing.
func TestProgramIsNoSmallerThanTheProxys(t *testing.T) {
	for text, envoy := range map[string]int{
		`[a-z]{10}`: 14, `a{100}`: 104, `(abc|abd|xyz)*`: 12, `(?i)abc`: 7, `(?i)[k-s]+`: 6, `[^a]`: 6, `.*`: 6, `.`: 6,
		`^(.*?;)?(user=jason)(;.*)?$`: 26, `(a|b|c|d){5}`: 19, `\w+`: 8, `(a{10}){10}`: 124, `a{0,50}`: 104, `(?s).`: 5,
		`\D\W`: 11, `a{100,}`: 105, `\b`: 5, `(((a)))`: 11, `(?i)k`: 5, `[[:^alpha:]]`: 7, `()`: 6, `a?b?c?d?`: 12,
		`[a-cx-z0-9_.]+`: 10, `\pL`: 11, `\pL{10}`: 74,
	} {
		re, err := syntax.Parse(text, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if n := 8 + program(re); n < envoy {
			t.Errorf("%s: %d, and the proxy's is %d", text, n, envoy)
		}
	}
}
