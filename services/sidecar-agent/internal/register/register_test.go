package register_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/register"
)

// pilot notes what it is asked and when.
type pilot struct {
	begun time.Time

	mu    sync.Mutex
	away  bool
	calls []string // "<seconds> <method> <state>"
	paths []string
	body  register.Workload
}

func (p *pilot) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	call := time.Since(p.begun).Round(time.Second).String() + " " + r.Method
	if r.Method == http.MethodPut {
		p.body = register.Workload{}
		if err := json.NewDecoder(r.Body).Decode(&p.body); err != nil {
			return nil, err
		}
		call += " " + string(p.body.State)
	}
	p.paths = append(p.paths, r.URL.String())
	if p.away {
		return nil, errors.New("connection refused")
	}
	p.calls = append(p.calls, call)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"revision":"1"}`)), Header: http.Header{}}, nil
}

func (p *pilot) goAway(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
}

// asked returns the calls that were answered, and how many there were in all.
func (p *pilot) asked() (calls []string, all int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls), len(p.paths)
}

func start(t *testing.T, p *pilot, drain time.Duration) (r *register.Registration, stop func()) {
	t.Helper()
	p.begun = time.Now()
	r = register.New(register.Config{
		Pilot: "https://pilot", Namespace: "default", Name: "reviews-v1", DrainTime: drain,
		Workload: register.Workload{Address: netip.MustParseAddr("10.77.1.3"), Account: "reviews", Ports: map[string]uint16{"http": 9080}},
	}, &http.Client{Transport: p}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	synctest.Wait()
	return r, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestAnEntryFromStartToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pilot)
		r, stop := start(t, p, 5*time.Second)
		r.Set(false)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.Set(true)
		synctest.Wait()
		r.Set(true) // nothing new
		synctest.Wait()
		if wanted, taken, n := r.State(); wanted != register.Ready || taken != register.Ready || n != 2 {
			t.Errorf("state %s, %s, %d, want READY and READY, 2", wanted, taken, n)
		}
		r.Set(false)
		synctest.Wait()
		r.Set(true)
		synctest.Wait()
		begun := time.Now()
		stop()
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("the end took %s, want the drain time, 5s", took)
		}
		want := []string{"0s PUT NOT_READY", "3s PUT READY", "3s PUT NOT_READY", "3s PUT READY", "3s PUT DRAINING", "8s DELETE"}
		if !slices.Equal(p.calls, want) {
			t.Errorf("pilot was asked %q, want %q", p.calls, want)
		}
		if p.paths[0] != "https://pilot/v1/workloads/default/reviews-v1" || p.body.Lease != "30s" || p.body.Ports["http"] != 9080 {
			t.Errorf("pilot was told %+v at %s", p.body, p.paths[0])
		}
	})
}

func TestNothingIsSaidBeforeTheFirstWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pilot)
		r, stop := start(t, p, time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls, n := p.asked(); n != 0 {
			t.Errorf("pilot was asked %q before the first word", calls)
		}
		if wanted, taken, _ := r.State(); wanted != "" || taken != "" {
			t.Errorf("state %q, %q, want none", wanted, taken)
		}
		r.Set(true)
		synctest.Wait()
		stop()
		if want := []string{"1m0s PUT READY", "1m0s PUT DRAINING", "1m1s DELETE"}; !slices.Equal(p.calls, want) {
			t.Errorf("pilot was asked %q, want %q", p.calls, want)
		}
	})
}

// What earlier agents said decides whether callers still come; who has said nothing
// cannot know.
func TestTheEndTakesCallersIntoAccount(t *testing.T) {
	for name, c := range map[string]struct {
		say  func(r *register.Registration)
		want []string
	}{
		"nothing said": {func(*register.Registration) {}, []string{"0s PUT DRAINING", "5s DELETE"}},
		"not ready": {func(r *register.Registration) { r.Set(false) },
			[]string{"0s PUT NOT_READY", "0s PUT DRAINING", "0s DELETE"}},
		"drains": {func(r *register.Registration) { r.Drain() }, []string{"0s PUT DRAINING", "0s PUT DRAINING", "5s DELETE"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := new(pilot)
				r, stop := start(t, p, 5*time.Second)
				c.say(r)
				synctest.Wait()
				stop()
				if !slices.Equal(p.calls, c.want) {
					t.Errorf("pilot was asked %q, want %q", p.calls, c.want)
				}
			})
		})
	}
}

func TestALeaseIsRenewedThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pilot)
		r, stop := start(t, p, 0)
		r.Set(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls, n := p.asked(); n < 6 || n > 9 {
			t.Errorf("%d calls in a minute with a lease of 30s: %q, want 6 to 9", n, calls)
		}
		stop()
	})
}

func TestPilotAwayIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pilot{away: true}
		r, stop := start(t, p, time.Minute)
		r.Set(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, n := p.asked(); n < 12 || n > 25 {
			t.Errorf("%d tries in a minute, want 12 to 25", n)
		}
		p.goAway(false)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if _, taken, _ := r.State(); taken != register.Ready {
			t.Errorf("pilot back for 6s: it has taken %q, want READY", taken)
		}
		p.goAway(true)
		begun := time.Now()
		stop()
		if took := time.Since(begun); took != 0 {
			t.Errorf("the end without pilot took %s, want none", took)
		}
	})
}

func TestDrainIsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pilot)
		r, stop := start(t, p, time.Second)
		r.Drain()
		r.Set(true)
		synctest.Wait()
		stop()
		if p.calls[len(p.calls)-2] != "0s PUT DRAINING" || slices.Contains(p.calls, "0s PUT READY") {
			t.Errorf("pilot was asked %q, want DRAINING to stay", p.calls)
		}
	})
}
