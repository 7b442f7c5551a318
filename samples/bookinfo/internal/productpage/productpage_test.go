package productpage

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/call"
)

// neighbours answer as the services behind productpage would, those in fail with an error.
type neighbours struct {
	fail map[string]error // by host

	mu    sync.Mutex
	asked map[string]call.Request // by host
}

func (n *neighbours) JSON(_ context.Context, q call.Request, doc any) (int, error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked == nil {
		n.asked = make(map[string]call.Request)
	}
	n.asked[u.Host] = q
	if err := n.fail[u.Host]; err != nil {
		return q.Attempts, err
	}
	by := book.Origin{Version: "v1", Pod: u.Host + "-pod"}
	switch d := doc.(type) {
	case *book.Details:
		*d, _ = book.FindDetails(0, by)
	case *book.Reviews:
		*d, _ = book.FindReviews(0, by)
	case *book.Ratings:
		*d, _ = book.FindRatings(0, by)
	}
	return 1, nil
}

func newService(n *neighbours) http.Handler {
	return New(Config{
		Origin:  book.Origin{Version: "v1", Pod: "front"},
		Details: "http://details", Reviews: "http://reviews", Ratings: "http://ratings",
	}, n, slog.New(slog.DiscardHandler))
}

func do(h http.Handler, method, target, body string, header http.Header) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for k, v := range header {
		req.Header[k] = v
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func TestPageSaysWhatIsMissing(t *testing.T) {
	const (
		noDetails = "Error fetching product details! Sorry, product details are currently unavailable for this book."
		noReviews = "Sorry, product reviews are currently unavailable for this book."
	)
	down := errors.New("down")
	for _, c := range []struct {
		name    string
		fail    map[string]error
		details bool
		reviews bool
	}{
		{"all well", nil, true, true},
		{"no details", map[string]error{"details": down}, false, true},
		{"no reviews", map[string]error{"reviews": down}, true, false},
		{"reviews denied", map[string]error{"reviews": &call.StatusError{Code: 403}}, true, false},
		{"alone", map[string]error{"details": down, "reviews": down}, false, false},
	} {
		rec := do(newService(&neighbours{fail: c.fail}), "GET", "/productpage", "", nil)
		body := rec.Body.String()
		if rec.Code != 200 || !strings.Contains(body, "The Comedy of Errors") {
			t.Errorf("%s: status %d, want 200 and the book", c.name, rec.Code)
		}
		if got := !strings.Contains(body, noDetails); got != c.details {
			t.Errorf("%s: details shown: %v, want %v", c.name, got, c.details)
		}
		if got := !strings.Contains(body, noReviews); got != c.reviews {
			t.Errorf("%s: reviews shown: %v, want %v", c.name, got, c.reviews)
		}
		if csp := rec.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
			t.Errorf("%s: policy %q", c.name, csp)
		}
	}
}

func TestPageAsksWithTheCallersContext(t *testing.T) {
	n := &neighbours{}
	header := http.Header{"Cookie": {"a=b; user=jason"}, "Traceparent": {"00-aa-bb-01"}, "X-Secret": {"s"}}
	body := do(newService(n), "GET", "/productpage", "", header).Body.String()
	if !strings.Contains(body, `<strong id="user">jason</strong>`) {
		t.Error("page does not greet the user")
	}
	for host, want := range map[string]call.Request{
		"details": {URL: "http://details/details/0", Timeout: 3 * time.Second, Attempts: 1},
		"reviews": {URL: "http://reviews/reviews/0", Timeout: 3 * time.Second, Attempts: 2},
	} {
		got := n.asked[host]
		if got.URL != want.URL || got.Timeout != want.Timeout || got.Attempts != want.Attempts {
			t.Errorf("asked %s %+v, want %+v", host, got, want)
		}
		h := got.Header
		if h.Get("Cookie") != "user=jason" || h.Get("Traceparent") != "00-aa-bb-01" || h.Get("X-Secret") != "" {
			t.Errorf("header sent to %s: %v", host, h)
		}
	}
	if _, ok := n.asked["ratings"]; ok {
		t.Error("the page asked ratings itself")
	}
}

func TestAPI(t *testing.T) {
	late := context.DeadlineExceeded
	denied := &call.StatusError{Code: 403}
	for _, c := range []struct {
		path   string
		fail   map[string]error
		status int
		want   string
	}{
		{"/api/v1/products", nil, 200, `[{"id":0,"title":"The Comedy of Errors"`},
		{"/api/v1/products/0", nil, 200, `"podname":"details-pod"`},
		{"/api/v1/products/0/reviews", nil, 200, `"podname":"reviews-pod"`},
		{"/api/v1/products/0/ratings", nil, 200, `"Reviewer1":5`},
		{"/api/v1/products/1", nil, 404, `{"error":"no product 1"}`},
		{"/api/v1/products/x/reviews", nil, 400, `{"error":"product id \"x\": want a whole number"}`},
		{"/api/v1/products/0", map[string]error{"details": late}, 504, `{"error":"` + book.DetailsUnavailable + `"}`},
		{"/api/v1/products/0/reviews", map[string]error{"reviews": denied}, 403, `{"error":"` + book.ReviewsUnavailable + `"}`},
		{"/api/v1/products/0/ratings", map[string]error{"ratings": errors.New("down")}, 502, `{"error":"` + book.RatingsUnavailable + `"}`},
	} {
		rec := do(newService(&neighbours{fail: c.fail}), "GET", c.path, "", nil)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.want) {
			t.Errorf("%s with %v: %d %s, want %d with %s", c.path, c.fail, rec.Code, rec.Body, c.status, c.want)
		}
		if !json.Valid(rec.Body.Bytes()) || rec.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: not JSON: %q", c.path, rec.Body)
		}
	}
}

func TestSession(t *testing.T) {
	own := http.Header{"Sec-Fetch-Site": {"same-origin"}}
	other := http.Header{"Sec-Fetch-Site": {"cross-site"}}
	const attrs = "; Path=/; HttpOnly; SameSite=Lax"
	for _, c := range []struct {
		name, method, target, body string
		header                     http.Header
		status                     int
		cookie                     string
	}{
		{"sign in", "POST", "/login", "username=jason&passwd=x", own, 303, "user=jason" + attrs},
		{"from a program", "POST", "/login", "username=jason", nil, 303, "user=jason" + attrs},
		{"spaces around", "POST", "/login", "username=+jason+", own, 303, "user=jason" + attrs},
		{"odd name", "POST", "/login", "username=" + url.QueryEscape(`J; "é"`), own, 303, "user=J%3B%20%22%C3%A9%22" + attrs},
		{"no name", "POST", "/login", "username=", own, 400, ""},
		{"name in the query", "POST", "/login?username=jason", "a=b", own, 400, ""},
		{"line break", "POST", "/login", "username=a%0d%0aSet-Cookie:x", own, 400, ""},
		{"long name", "POST", "/login", "username=" + strings.Repeat("a", 65), own, 400, ""},
		{"broken form", "POST", "/login", "username=%zz", own, 400, ""},
		{"other site", "POST", "/login", "username=jason", other, 403, ""},
		{"by GET", "GET", "/login", "", own, 405, ""},
		{"sign out", "POST", "/logout", "", own, 303, "user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"sign out by link", "GET", "/logout", "", nil, 303, "user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"sign out by other site", "POST", "/logout", "", other, 403, ""},
		{"front door", "GET", "/", "", nil, 302, ""},
		{"no such page", "GET", "/other", "", nil, 404, ""},
	} {
		rec := do(newService(&neighbours{}), c.method, c.target, c.body, c.header)
		if rec.Code != c.status || rec.Header().Get("Set-Cookie") != c.cookie {
			t.Errorf("%s: %d, cookie %q, want %d, %q", c.name, rec.Code, rec.Header().Get("Set-Cookie"), c.status, c.cookie)
		}
		if c.status/100 == 3 && rec.Header().Get("Location") != "/productpage" {
			t.Errorf("%s: sent to %q, want /productpage", c.name, rec.Header().Get("Location"))
		}
	}
}

func TestHops(t *testing.T) {
	ok := outcome[book.Details]{doc: book.Details{Origin: book.Origin{Version: "v1", Pod: "d"}}, attempts: 1, took: 1500 * time.Millisecond}
	by := book.Origin{Version: "v3", Pod: "r"}
	from := &book.Origin{Version: "v1", Pod: "s"}
	sorry := []book.Review{{Rating: &book.Rating{Error: book.NoRatings}}}
	for _, c := range []struct {
		name    string
		reviews outcome[book.Reviews]
		want    string
	}{
		{"no stars", outcome[book.Reviews]{doc: book.Reviews{Origin: by}, attempts: 1}, "reviews v3 answered (0 ms); ratings unasked (not asked)"},
		{"stars", outcome[book.Reviews]{doc: book.Reviews{Origin: by, RatingsFrom: from}, attempts: 2, took: 3 * time.Second},
			"reviews v3 answered (3.0 s, 2 attempts); ratings v1 answered (asked by reviews)"},
		{"ratings down", outcome[book.Reviews]{doc: book.Reviews{Origin: by, Reviews: sorry}, attempts: 1},
			"reviews v3 answered (0 ms); ratings failed (asked by reviews in vain)"},
		{"reviews down", outcome[book.Reviews]{err: &call.StatusError{Code: 503}, attempts: 1, took: 20 * time.Millisecond},
			"reviews failed (HTTP 503, 20 ms); ratings unasked (not known)"},
	} {
		var got []string
		for _, h := range hops(ok, c.reviews) {
			words := []string{h.Service, h.Version, string(h.State), "(" + h.Note + ")"}
			got = append(got, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
		}
		want := "details v1 answered (1.5 s); " + c.want
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, s, want)
		}
	}
}
