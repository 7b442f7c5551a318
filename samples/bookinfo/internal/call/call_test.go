package call

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// peer answers the n-th attempt, counted from 1.
type peer func(n int, r *http.Request) (*http.Response, error)

type counted struct {
	peer  peer
	calls atomic.Int64
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.peer(int(c.calls.Add(1)), r)
}

func says(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func silent(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestJSON(t *testing.T) {
	refused := errors.New("connection refused")
	for _, c := range []struct {
		name     string
		peer     peer
		attempts int
		took     time.Duration
		reason   string
		status   int
	}{
		{"answer", func(int, *http.Request) (*http.Response, error) { return says(200, `{"a":1}`) }, 1, 0, "", 0},
		{"silence, then answer", func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return silent(r)
			}
			return says(200, `{"a":1}`)
		}, 2, 3 * time.Second, "", 0},
		{"silence", func(_ int, r *http.Request) (*http.Response, error) { return silent(r) }, 2, 6 * time.Second, "no answer in time", 504},
		{"silence within the body", func(_ int, r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: stuck{r.Context()}}, nil
		}, 2, 6 * time.Second, "no answer in time", 504},
		{"nobody there", func(int, *http.Request) (*http.Response, error) { return nil, refused }, 2, 0, "no usable answer", 502},
		{"refusal is final", func(int, *http.Request) (*http.Response, error) { return says(403, "no") }, 1, 0, "HTTP 403", 403},
		{"gateway timeout is final", func(int, *http.Request) (*http.Response, error) { return says(504, "") }, 1, 0, "HTTP 504", 504},
		{"redirect is not followed", func(int, *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"http://elsewhere/"}}, Body: http.NoBody}, nil
		}, 1, 0, "HTTP 302", 502},
		{"rubbish is final", func(int, *http.Request) (*http.Response, error) { return says(200, "<html>") }, 1, 0, "no usable answer", 502},
		{"too large", func(int, *http.Request) (*http.Response, error) {
			return says(200, `"`+strings.Repeat("x", maxBody)+`"`)
		}, 1, 0, "no usable answer", 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := &counted{peer: c.peer}
				start := time.Now()
				var doc map[string]int
				n, err := New(rt).JSON(t.Context(), Request{URL: "http://peer/x", Timeout: 3 * time.Second, Attempts: 2}, &doc)
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if n != c.attempts || int(rt.calls.Load()) != c.attempts {
					t.Errorf("%d attempts reported, %d made, want %d", n, rt.calls.Load(), c.attempts)
				}
				if got := Reason(err); got != c.reason {
					t.Errorf("error %v: reason %q, want %q", err, got, c.reason)
				}
				if err == nil && doc["a"] != 1 {
					t.Errorf("document %v, want a=1", doc)
				}
				if err != nil && Status(err) != c.status {
					t.Errorf("error %v: status %d, want %d", err, Status(err), c.status)
				}
				if err != nil && !strings.HasPrefix(err.Error(), "get http://peer/x: ") {
					t.Errorf("error %q does not say what was asked", err)
				}
			})
		})
	}
}

type stuck struct{ ctx context.Context }

func (s stuck) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }
func (s stuck) Close() error             { return nil }

func TestJSONStopsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		rt := &counted{peer: func(_ int, r *http.Request) (*http.Response, error) { return silent(r) }}
		start := time.Now()
		n, err := New(rt).JSON(ctx, Request{URL: "http://peer/", Timeout: 3 * time.Second, Attempts: 5}, new(any))
		if n != 1 || err == nil || time.Since(start) != time.Second {
			t.Errorf("%d attempts, error %v, after %v; want 1, an error, 1s", n, err, time.Since(start))
		}
	})
}

func TestJSONSendsHeaderAndLeavesItAlone(t *testing.T) {
	var got http.Header
	rt := &counted{peer: func(_ int, r *http.Request) (*http.Response, error) { got = r.Header; return says(200, "{}") }}
	in := http.Header{"B3": {"0"}}
	if _, err := New(rt).JSON(t.Context(), Request{URL: "http://peer/", Header: in, Timeout: time.Second}, new(any)); err != nil {
		t.Fatal(err)
	}
	if got.Get("b3") != "0" || got.Get("Accept") != "application/json" {
		t.Errorf("sent header %v, want b3 and Accept", got)
	}
	if len(in) != 1 {
		t.Errorf("caller's header became %v", in)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = w.Write(bytes.Repeat([]byte(" "), 4096))
		_, _ = io.WriteString(w, "{}")
	}))
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { conns.Add(1); return ctx }
	srv.Start()
	defer srv.Close()
	transport := NewTransport()
	defer transport.CloseIdleConnections()
	client := New(transport)
	for i := range 20 {
		path := []string{"/yes", "/no"}[i%2]
		_, err := client.JSON(t.Context(), Request{URL: srv.URL + path, Timeout: 5 * time.Second}, new(any))
		if (err != nil) != (path == "/no") {
			t.Fatalf("request %d to %s: %v", i, path, err)
		}
	}
	if got := conns.Load(); got != 1 {
		t.Errorf("20 requests took %d connections, want 1", got)
	}
}
