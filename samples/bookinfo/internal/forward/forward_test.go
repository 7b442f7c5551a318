package forward

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestHeaderPassesTraceContextAndUserOnly(t *testing.T) {
	in := http.Header{}
	want := http.Header{}
	for _, name := range []string{
		"x-request-id", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
		"x-ot-span-context", "b3", "traceparent", "tracestate",
	} {
		in.Set(name, "value of "+name)
		want.Set(name, "value of "+name)
	}
	in.Add("tracestate", "second=1")
	want.Add("tracestate", "second=1")
	in.Set("Cookie", "theme=dark; user=jason; session=secret")
	want.Set("Cookie", "user=jason")
	in.Set("Authorization", "Bearer secret")
	in.Set("X-Forwarded-For", "192.0.2.1")

	got := Header(in)
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("Header:\n got %v\nwant %v", got, want)
	}
	got.Set("b3", "changed")
	if in.Get("b3") != "value of b3" {
		t.Error("Header shares values with its input")
	}
}

func TestUser(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, c := range []struct{ name, cookie, user, sent string }{
		{"nobody", "", "", ""},
		{"plain", "user=jason", "jason", "user=jason"},
		{"among others", "a=1; user=jason; b=2", "jason", "user=jason"},
		{"quoted", `user="jason"`, "jason", "user=jason"},
		{"escaped", "user=Jos%C3%A9%20B", "José B", "user=Jos%C3%A9%20B"},
		{"first of two", "user=jason; user=eve", "jason", "user=jason"},
		{"empty", "user=", "", ""},
		{"other name", "username=jason", "", ""},
		{"broken escape", "user=50%", "50%", "user=50%"},
		{"control characters", "user=a%0d%0aX-Evil:%201", "", "user=a%0d%0aX-Evil:%201"},
		{"not UTF-8", "user=%ff", "", "user=%ff"},
		{"too long a name", "user=" + long, "", "user=" + long},
		{"too long a cookie", "user=" + strings.Repeat("a", 600), "", ""},
		{"header injection", "user=a\r\nX-Evil: 1", "", ""},
	} {
		in := http.Header{"Cookie": {c.cookie}}
		if got := User(in); got != c.user {
			t.Errorf("%s: User(%q) = %q, want %q", c.name, c.cookie, got, c.user)
		}
		if got := Header(in).Get("Cookie"); got != c.sent {
			t.Errorf("%s: Header sends cookie %q, want %q", c.name, got, c.sent)
		}
	}
}

func TestCookieValueRoundTrip(t *testing.T) {
	for _, name := range []string{"jason", "José B", `<script>"x"; y, z\</script>`, "50%", "a/b?c=d&e", "名前"} {
		rec := http.Header{"Cookie": {UserCookie + "=" + CookieValue(name)}}
		if got := User(rec); got != name {
			t.Errorf("user %q comes back as %q", name, got)
		}
	}
	if got := CookieValue("jason"); got != "jason" {
		t.Errorf("CookieValue(jason) = %q: a plain name must stay as it is", got)
	}
}

func TestValidUser(t *testing.T) {
	for name, want := range map[string]bool{
		"jason": true, "": false, "a\nb": false, "\xff": false,
		strings.Repeat("é", 64): true, strings.Repeat("é", 65): false,
	} {
		if got := ValidUser(name); got != want {
			t.Errorf("ValidUser(%q) = %v, want %v", name, got, want)
		}
	}
}

func FuzzUserIsPrintableAndCookieIsClean(f *testing.F) {
	f.Add("user=jason")
	f.Add("user=%0d%0a; a=b")
	f.Add(`user="a\"b"`)
	f.Fuzz(func(t *testing.T, cookie string) {
		in := http.Header{"Cookie": {cookie}}
		if name := User(in); name != "" && !ValidUser(name) {
			t.Errorf("cookie %q: unfit name %q", cookie, name)
		}
		if sent := Header(in).Get("Cookie"); strings.ContainsAny(sent, "\r\n\x00;,\" ") {
			t.Errorf("cookie %q: sent on as %q", cookie, sent)
		}
	})
}
