package probe_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/probe"
)

func address(s *httptest.Server) string { return s.Listener.Addr().String() }

func TestSendAtTheRate(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Host != "plain" {
			t.Errorf("Host: %q, want plain", r.Host)
		}
		probe.Answer().ServeHTTP(w, r)
	}))
	defer server.Close()
	order := probe.Order{Address: address(server), Host: "plain", Rate: 500, Connections: 5, Warmup: 100 * time.Millisecond, Length: 200 * time.Millisecond}
	report, err := probe.Send(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Clean(); err != nil {
		t.Error(err)
	}
	if got := len(report.Latencies); got != 100 {
		t.Errorf("%d requests measured, want 100", got)
	}
	if got := asked.Load(); got != 150 {
		t.Errorf("%d requests sent, want 150", got)
	}
	for _, latency := range report.Latencies {
		if latency <= 0 {
			t.Errorf("latency %v, want more than 0", latency)
		}
	}
}

// A request that waits for the one before is charged with the wait.
func TestSendChargesTheWait(t *testing.T) {
	const stall = 200 * time.Millisecond
	var asked atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			time.AfterFunc(stall, func() { close(release) })
			<-release
		}
		probe.Answer().ServeHTTP(w, r)
	}))
	defer server.Close()
	order := probe.Order{Address: address(server), Rate: 100, Connections: 1, Length: 300 * time.Millisecond}
	report, err := probe.Send(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	if report.Late < 15 {
		t.Errorf("%d late requests, want at least 15", report.Late)
	}
	if second := report.Latencies[1]; second < stall-20*time.Millisecond {
		t.Errorf("the second request took %v, want about %v", second, stall-10*time.Millisecond)
	}
}

func TestSendCountsFailures(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusServiceUnavailable)
	}))
	order := probe.Order{Address: address(server), Rate: 100, Connections: 2, Length: 100 * time.Millisecond}
	for _, want := range []string{"503", "connect"} {
		report, err := probe.Send(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		if err := report.Clean(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("report says %v, want %q in it", err, want)
		}
		server.Close()
	}
}

func TestOrdersByHTTP(t *testing.T) {
	server := httptest.NewServer(probe.Answer())
	defer server.Close()
	sender := httptest.NewServer(&probe.Sender{})
	defer sender.Close()
	for _, c := range []struct {
		name, order string
		status      int
	}{
		{"good", `{"address":"` + address(server) + `","rate":100,"connections":1,"length":50000000}`, http.StatusOK},
		{"no address", `{"rate":100,"connections":1,"length":50000000}`, http.StatusBadRequest},
		{"unknown key", `{"adress":"x"}`, http.StatusBadRequest},
		{"too much", `{"address":"a:1","rate":1000000,"connections":1,"length":50000000000}`, http.StatusBadRequest},
		{"nobody of that name", `{"address":"nobody.invalid:1","rate":1,"connections":1,"length":1}`, http.StatusBadGateway},
	} {
		res, err := http.Post(sender.URL, "application/json", bytes.NewReader([]byte(c.order)))
		if err != nil {
			t.Fatal(err)
		}
		var report probe.Report
		if res.StatusCode == http.StatusOK {
			if err := json.NewDecoder(res.Body).Decode(&report); err != nil || len(report.Latencies) != 5 {
				t.Errorf("%s: %d latencies, %v, want 5", c.name, len(report.Latencies), err)
			}
		}
		if res.Body.Close(); res.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", c.name, res.StatusCode, c.status)
		}
	}
}
