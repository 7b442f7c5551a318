package bookinfo

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/samples/bookinfo/internal/pipenettest"
)

// mesh stands where the sidecars of a caller would: it delays, refuses and records calls by the host they are made to.
type mesh struct {
	next http.RoundTripper

	mu     sync.Mutex
	delay  map[string]time.Duration
	refuse map[string]int
	seen   map[string][]http.Header
}

func (m *mesh) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	m.mu.Lock()
	m.seen[host] = append(m.seen[host], r.Header.Clone())
	delay, refuse := m.delay[host], m.refuse[host]
	m.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if refuse != 0 {
		return &http.Response{StatusCode: refuse, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("refused")), Request: r}, nil
	}
	return m.next.RoundTrip(r)
}

// fleet runs all services on an in-memory network, reviews in the given version.
type fleet struct {
	*mesh
	client *http.Client
}

func startFleet(t *testing.T, version string) *fleet {
	t.Helper()
	network := pipenettest.New()
	transport := &http.Transport{DialContext: network.DialContext}
	f := &fleet{mesh: &mesh{
		next:   transport,
		delay:  make(map[string]time.Duration),
		refuse: make(map[string]int),
		seen:   make(map[string][]http.Header),
	}}
	f.client = &http.Client{Transport: transport}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, service := range []string{"productpage", "details", "reviews", "ratings"} {
		cfg := DefaultConfig()
		cfg.Service = service
		if service == "reviews" {
			cfg.Version = version
		}
		ln := network.Listen(service + ":9080")
		running.Go(func() {
			if err := runOn(ctx, cfg, ln, f.mesh, slog.New(slog.DiscardHandler)); err != nil {
				t.Errorf("%s: %v", service, err)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		transport.CloseIdleConnections()
		running.Wait()
	})
	return f
}

// page gets the product page and tells how long that took.
func (f *fleet) page(t *testing.T, header http.Header) (body string, took time.Duration) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://productpage:9080/productpage", nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	start := time.Now()
	resp, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("page: %s, %v", resp.Status, err)
	}
	return string(b), time.Since(start)
}

func TestFleet(t *testing.T) {
	const (
		noReviews = "Sorry, product reviews are currently unavailable for this book."
		noRatings = "Ratings service is currently unavailable"
		noDetails = "Error fetching product details! Sorry, product details are currently unavailable for this book."
		black     = `data-color="black"`
		red       = `data-color="red"`
	)
	for _, c := range []struct {
		name    string
		version string
		delay   map[string]time.Duration
		refuse  map[string]int
		took    time.Duration
		want    []string
		absent  []string
	}{
		{"v1 has no stars", "v1", nil, nil, 0, []string{"reviews v1"}, []string{black, red, noReviews, noRatings, noDetails}},
		{"v2 has black stars", "v2", nil, nil, 0, []string{"reviews v2", black}, []string{red, noReviews, noRatings}},
		{"v3 has red stars", "v3", nil, nil, 0, []string{"reviews v3", red}, []string{black, noReviews, noRatings}},
		{"ratings 7 s late, v2: the page gives up after two attempts", "v2", map[string]time.Duration{"ratings": 7 * time.Second}, nil,
			6 * time.Second, []string{noReviews, "2 attempts"}, []string{black, noDetails}},
		{"ratings 7 s late, v3: reviews gives up in time", "v3", map[string]time.Duration{"ratings": 7 * time.Second}, nil,
			2500 * time.Millisecond, []string{"reviews v3", noRatings}, []string{red, noReviews}},
		{"ratings 2.8 s late, v2: just in time", "v2", map[string]time.Duration{"ratings": 2800 * time.Millisecond}, nil,
			2800 * time.Millisecond, []string{black}, []string{noReviews, noRatings}},
		{"ratings 2 s late, v2", "v2", map[string]time.Duration{"ratings": 2 * time.Second}, nil,
			2 * time.Second, []string{black}, []string{noReviews, noRatings}},
		{"a sidecar gives up on reviews after 1 s", "v2", map[string]time.Duration{"reviews": time.Second}, map[string]int{"reviews": 504},
			time.Second, []string{noReviews}, []string{black, "2 attempts"}},
		{"ratings refused", "v3", nil, map[string]int{"ratings": 403}, 0, []string{"reviews v3", noRatings}, []string{red, noReviews}},
		{"details refused", "v3", nil, map[string]int{"details": 403}, 0, []string{noDetails, red}, []string{noReviews}},
		{"details silent", "v1", map[string]time.Duration{"details": time.Minute}, nil, 3 * time.Second, []string{noDetails, "reviews v1"}, []string{noReviews}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startFleet(t, c.version)
				f.delay, f.refuse = c.delay, c.refuse
				body, took := f.page(t, nil)
				if took != c.took {
					t.Errorf("page took %v, want %v", took, c.took)
				}
				for _, s := range c.want {
					if !strings.Contains(body, s) {
						t.Errorf("page lacks %q", s)
					}
				}
				for _, s := range c.absent {
					if strings.Contains(body, s) {
						t.Errorf("page has %q", s)
					}
				}
			})
		})
	}
}

func TestFleetPassesContextOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFleet(t, "v2")
		header := http.Header{"Cookie": {"theme=dark; user=jason"}}
		for _, name := range []string{"X-Request-Id", "X-B3-Traceid", "X-B3-Spanid", "B3", "Traceparent", "Tracestate"} {
			header.Set(name, "the "+name)
		}
		f.page(t, header)
		for _, host := range []string{"details", "reviews", "ratings"} {
			seen := f.seen[host]
			if len(seen) != 1 {
				t.Errorf("%s was called %d times, want once", host, len(seen))
				continue
			}
			for name := range header {
				want := header.Get(name)
				if name == "Cookie" {
					want = "user=jason"
				}
				if got := seen[0].Get(name); got != want {
					t.Errorf("%s got %s %q, want %q", host, name, got, want)
				}
			}
		}
	})
}

func TestRunServesAndStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	lines, log := io.Pipe()
	cfg := DefaultConfig()
	cfg.Service, cfg.Listen, cfg.Linger = "details", "127.0.0.1:0", 0
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, cfg, slog.New(slog.NewTextHandler(log, nil)))
		log.Close()
	}()
	address := waitForAddress(t, lines)
	resp, err := http.Get("http://" + address + "/details/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), `"version":"v1","podname":"details-v1"`) {
		t.Errorf("details says %q, %v", body, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := http.Get("http://" + address + "/health"); err == nil {
		t.Error("still listening after Run")
	}
}

// waitForAddress reads the log up to the line that tells the address, and lets the rest of it flow.
func waitForAddress(t *testing.T, lines *io.PipeReader) string {
	t.Helper()
	var text strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := lines.Read(buf)
		if err != nil {
			t.Fatalf("log ended before the service listened: %q", text.String())
		}
		text.Write(buf[:n])
		if _, rest, ok := strings.Cut(text.String(), "address="); ok && strings.Contains(rest, "\n") {
			go func() { _, _ = io.Copy(io.Discard, lines) }()
			return strings.TrimSpace(rest)
		}
	}
}

func TestRunRefusesAnUnknownVersion(t *testing.T) {
	network := pipenettest.New()
	cfg := DefaultConfig()
	cfg.Service, cfg.Version = "reviews", "v9"
	ln := network.Listen("reviews:9080")
	if err := runOn(t.Context(), cfg, ln, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a version that does not exist was served")
	}
	if _, err := network.DialContext(t.Context(), "", "reviews:9080"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("listener left open: %v", err)
	}
}
