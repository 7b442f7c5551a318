package serve

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/pipenettest"
)

// served is a server under test, its client, and the order to stop.
type served struct {
	client *http.Client
	stop   context.CancelFunc
	ended  chan struct{} // closed when Run has returned, with err
	err    error
}

func start(t *testing.T, cfg Config, h http.HandlerFunc) *served {
	t.Helper()
	network := pipenettest.New()
	ctx, stop := context.WithCancel(t.Context())
	transport := &http.Transport{DialContext: network.DialContext}
	s := &served{client: &http.Client{Transport: transport}, stop: stop, ended: make(chan struct{})}
	server := New(cfg, h, slog.New(slog.DiscardHandler))
	ln := network.Listen("svc:80")
	go func() {
		defer close(s.ended)
		s.err = server.Run(ctx, ln)
	}()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		<-s.ended
	})
	return s
}

func (s *served) get(t *testing.T, path string) *http.Response {
	t.Helper()
	resp, err := s.client.Get("http://svc" + path)
	if err != nil {
		t.Fatalf("get %s: %v", path, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

func bodyOf(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

var config = Config{Name: "svc", MaxInFlight: 10, Linger: time.Second, Drain: 5 * time.Second}

func TestStopsWithoutLosingARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				time.Sleep(4 * time.Second)
			}
			_, _ = io.WriteString(w, "done")
		})
		if r := s.get(t, "/health"); r.StatusCode != 200 || bodyOf(r) != `{"status":"svc is healthy"}`+"\n" {
			t.Errorf("health: %s", r.Status)
		}
		slow := make(chan string, 1)
		go func() { slow <- bodyOf(s.get(t, "/slow")) }()
		synctest.Wait()

		began := time.Now()
		s.stop()
		synctest.Wait()
		if r := s.get(t, "/quick"); r.StatusCode != 200 || !r.Close {
			t.Errorf("while lingering: %s, connection closes: %v; want 200 and closing", r.Status, r.Close)
		}
		if r := s.get(t, "/health"); r.StatusCode != 503 {
			t.Errorf("health while stopping: %s, want 503", r.Status)
		}
		if got := <-slow; got != "done" {
			t.Errorf("request in work ended with %q, want done", got)
		}
		<-s.ended
		if s.err != nil {
			t.Errorf("Run: %v", s.err)
		}
		if took := time.Since(began); took < 4*time.Second || took >= 6*time.Second {
			t.Errorf("stopped after %v, want when the request in work had its answer", took)
		}
		if _, err := s.client.Get("http://svc/"); err == nil {
			t.Error("stopped server still answers")
		}
	})
}

func TestAbandonsWhatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan time.Time, 1)
		s := start(t, config, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			gone <- time.Now()
		})
		began := time.Now()
		go func() { _, _ = s.client.Get("http://svc/hang") }()
		synctest.Wait()
		s.stop()
		<-s.ended
		if s.err == nil || !strings.Contains(s.err.Error(), "drain") {
			t.Errorf("Run: %v, want an error about draining", s.err)
		}
		if took := (<-gone).Sub(began); took != config.Linger+config.Drain {
			t.Errorf("request cancelled after %v, want %v", took, config.Linger+config.Drain)
		}
	})
}

func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config
		cfg.MaxInFlight = 2
		s := start(t, cfg, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		began := time.Now()
		ended := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				s.get(t, "/hang")
				ended <- time.Since(began)
			}()
		}
		synctest.Wait()
		if r := s.get(t, "/third"); r.StatusCode != 503 || bodyOf(r) != `{"error":"svc is busy"}`+"\n" {
			t.Errorf("third request: %s, want 503", r.Status)
		}
		if r := s.get(t, "/health"); r.StatusCode != 200 {
			t.Errorf("health of a busy service: %s, want 200", r.Status)
		}
		for range 2 {
			if got := <-ended; got != requestTimeout {
				t.Errorf("a hanging request ended after %v, want %v", got, requestTimeout)
			}
		}
		if r := s.get(t, "/health"); r.StatusCode != 200 {
			t.Errorf("after the rush: %s", r.Status)
		}
	})
}

func TestInputIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		})
		for size, want := range map[int]int{maxBody: 200, maxBody + 1: 413} {
			resp, err := s.client.Post("http://svc/", "text/plain", strings.NewReader(strings.Repeat("x", size)))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("body of %d bytes: %d, want %d", size, resp.StatusCode, want)
			}
		}
		req, err := http.NewRequest(http.MethodGet, "http://svc/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Large", strings.Repeat("x", 2*maxHeader))
		resp, err := s.client.Do(req)
		if err != nil {
			return // The server may hang up before the whole header is sent.
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("large header: %d, want 431", resp.StatusCode)
		}
	})
}
