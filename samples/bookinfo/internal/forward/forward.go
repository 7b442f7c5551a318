// Package forward decides what of an inbound request travels on with the calls made for it: the trace context, so that
// the mesh can join the hops to one trace, and the cookie of the signed-in user, so that it can route by user.
// Header in, header out; nothing else of a request passes.
package forward

import (
	"net/http"
	"net/url"
	"unicode"
	"unicode/utf8"
)

// UserCookie is the name of the cookie that holds the signed-in user.
const UserCookie = "user"

const (
	maxUserRunes = 64
	maxUserBytes = 512
)

// Names returns the header fields that are passed on: B3 in both its forms, W3C Trace Context, Envoy's request id and
// the context of OpenTracing's Lightstep-style tracers.
func Names() []string {
	return []string{
		"X-Request-Id",
		"X-B3-Traceid",
		"X-B3-Spanid",
		"X-B3-Parentspanid",
		"X-B3-Sampled",
		"X-B3-Flags",
		"X-Ot-Span-Context",
		"B3",
		"Traceparent",
		"Tracestate",
	}
}

// Header returns the fields to send with a call made for a request that came with the fields in. It shares nothing
// with in.
func Header(in http.Header) http.Header {
	out := make(http.Header)
	for _, name := range Names() {
		for _, value := range in.Values(name) {
			out.Add(name, value)
		}
	}
	if value, ok := userValue(in); ok {
		out.Set("Cookie", UserCookie+"="+value)
	}
	return out
}

// User returns the name of the signed-in user, or "" for nobody. The name comes from the client: it is printable and
// short, and otherwise whatever the client likes.
func User(in http.Header) string {
	value, ok := userValue(in)
	if !ok {
		return ""
	}
	name, err := url.PathUnescape(value)
	if err != nil {
		name = value
	}
	if !ValidUser(name) {
		return ""
	}
	return name
}

// ValidUser tells whether somebody may sign in by this name: 1 to 64 printable characters.
func ValidUser(name string) bool {
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxUserRunes {
		return false
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// CookieValue returns the form in which a valid user name is kept in the cookie. Letters, digits, '-', '.' and '_'
// stand for themselves, so that a route rule can match a plain name.
func CookieValue(name string) string {
	return url.PathEscape(name)
}

// userValue returns the value of the user cookie as it was sent, if it is fit to be sent on.
func userValue(in http.Header) (string, bool) {
	cookie, err := (&http.Request{Header: in}).Cookie(UserCookie)
	if err != nil || cookie.Value == "" || len(cookie.Value) > maxUserBytes {
		return "", false
	}
	for _, b := range []byte(cookie.Value) {
		if b <= ' ' || b >= 0x7f || b == '"' || b == ',' || b == ';' || b == '\\' {
			return "", false
		}
	}
	return cookie.Value, true
}
