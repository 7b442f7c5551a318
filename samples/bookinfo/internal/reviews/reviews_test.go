package reviews

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/book"
	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/call"
)

// ratings answers as the service of that name would, and remembers what it was asked.
type ratings struct {
	doc   book.Ratings
	err   error
	asked []call.Request
}

func (f *ratings) JSON(_ context.Context, q call.Request, doc any) (int, error) {
	f.asked = append(f.asked, q)
	if f.err == nil {
		*doc.(*book.Ratings) = f.doc
	}
	return 1, f.err
}

func get(t *testing.T, version string, from *ratings, path string) (int, book.Reviews) {
	t.Helper()
	h, err := New(Config{Origin: book.Origin{Version: version, Pod: "pod"}, Ratings: "http://ratings"}, from, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.Header.Set("Cookie", "user=jason")
	req.Header.Set("X-Request-Id", "id")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	var doc book.Reviews
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatalf("%s: %v in %q", path, err, rec.Body)
	}
	return rec.Code, doc
}

func TestVersions(t *testing.T) {
	by := book.Origin{Version: "v1", Pod: "r"}
	stars := func(a, b int) book.Ratings {
		return book.Ratings{Ratings: map[string]int{"Reviewer1": a, "Reviewer2": b}, Origin: by}
	}
	none, sorry := book.Rating{}, book.Rating{Error: "Ratings service is currently unavailable"}
	for _, c := range []struct {
		name, version string
		ratings       ratings
		timeout       time.Duration // 0: ratings must not be asked
		want          [2]book.Rating
	}{
		{"v1 asks nobody", "v1", ratings{doc: stars(5, 4)}, 0, [2]book.Rating{none, none}},
		{"v2 black", "v2", ratings{doc: stars(5, 4)}, 10 * time.Second,
			[2]book.Rating{{Stars: 5, Color: "black"}, {Stars: 4, Color: "black"}}},
		{"v3 red", "v3", ratings{doc: stars(5, 4)}, 2500 * time.Millisecond,
			[2]book.Rating{{Stars: 5, Color: "red"}, {Stars: 4, Color: "red"}}},
		{"v2 without ratings", "v2", ratings{err: errors.New("down")}, 10 * time.Second, [2]book.Rating{sorry, sorry}},
		{"v3 denied", "v3", ratings{err: &call.StatusError{Code: 403}}, 2500 * time.Millisecond, [2]book.Rating{sorry, sorry}},
		{"stars out of range", "v2", ratings{doc: stars(99, -3)}, 10 * time.Second,
			[2]book.Rating{{Stars: 5, Color: "black"}, {Stars: 1, Color: "black"}}},
		{"a reviewer without stars", "v2", ratings{doc: book.Ratings{Ratings: map[string]int{"Reviewer2": 4}, Origin: by}}, 10 * time.Second,
			[2]book.Rating{none, {Stars: 4, Color: "black"}}},
	} {
		status, doc := get(t, c.version, &c.ratings, "/reviews/0")
		if status != 200 || len(doc.Reviews) != 2 {
			t.Errorf("%s: status %d, %d reviews, want 200 and 2", c.name, status, len(doc.Reviews))
			continue
		}
		for i, want := range c.want {
			var got book.Rating
			if p := doc.Reviews[i].Rating; p != nil {
				got = *p
			}
			if got != want {
				t.Errorf("%s: review %d has rating %+v, want %+v", c.name, i, got, want)
			}
		}
		if doc.Version != c.version || doc.Pod != "pod" {
			t.Errorf("%s: answer says it is from %+v", c.name, doc.Origin)
		}
		if got, want := doc.RatingsFrom != nil, c.timeout > 0 && c.ratings.err == nil; got != want {
			t.Errorf("%s: names the version of ratings: %v, want %v", c.name, got, want)
		}
		checkAsked(t, c.name, c.ratings.asked, c.timeout)
	}
}

func checkAsked(t *testing.T, name string, asked []call.Request, timeout time.Duration) {
	t.Helper()
	if timeout == 0 {
		if len(asked) != 0 {
			t.Errorf("%s: ratings was asked: %v", name, asked)
		}
		return
	}
	if len(asked) != 1 {
		t.Errorf("%s: ratings was asked %d times, want once", name, len(asked))
		return
	}
	q := asked[0]
	if q.URL != "http://ratings/ratings/0" || q.Timeout != timeout || q.Attempts != 1 {
		t.Errorf("%s: asked %+v, want /ratings/0 within %v, one attempt", name, q, timeout)
	}
	if q.Header.Get("Cookie") != "user=jason" || q.Header.Get("X-Request-Id") != "id" {
		t.Errorf("%s: header sent on is %v", name, q.Header)
	}
}

func TestBadIDs(t *testing.T) {
	from := &ratings{}
	for path, want := range map[string]int{"/reviews/99": 404, "/reviews/x": 400, "/reviews/-1": 400} {
		if got, _ := get(t, "v2", from, path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if len(from.asked) != 0 {
		t.Errorf("ratings was asked about books that do not exist: %v", from.asked)
	}
}

func TestNoSuchVersion(t *testing.T) {
	for version, ok := range map[string]bool{"v1": true, "v2": true, "v3": true, "v4": false, "": false, "V1": false} {
		if err := CheckVersion(version); (err == nil) != ok {
			t.Errorf("CheckVersion(%q) = %v, want ok: %v", version, err, ok)
		}
		if _, err := New(Config{Origin: book.Origin{Version: version}}, nil, nil); (err == nil) != ok {
			t.Errorf("New with version %q: %v, want ok: %v", version, err, ok)
		}
	}
}
