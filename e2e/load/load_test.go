package load

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestCountsWhatCame(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%10 == 0 {
			http.Error(w, "every tenth", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	r := Start(t.Context(), Config{URL: server.URL, Rate: 500, Connections: 8, Limit: time.Second}).Wait()
	// One is due at the very beginning. How many a busy machine answers nobody knows, nor
	// how late its clock strikes.
	most := int(500*r.Took.Seconds()) + 1
	if r.Answered() != int(calls.Load()) || r.Answered() == 0 || r.Answered() > most {
		t.Errorf("answered %d of %d, want all, and %d at most: %s", r.Answered(), calls.Load(), most, r)
	}
	if got, want := r.Status[503], r.Answered()/10; got != want {
		t.Errorf("503: got %d, want %d: %s", got, want, r)
	}
	if err := r.Clean(); err == nil || !strings.Contains(err.Error(), "every tenth") {
		t.Errorf("Clean: got %v, want the server's words", err)
	}
}

func TestAWrongAnswerIsAFailure(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%10 == 0 {
			w.Write([]byte("the service behind is away"))
		}
	}))
	defer server.Close()
	for _, c := range []struct {
		wrong string
		clean bool
	}{{"is away", false}, {"is asleep", true}, {"", true}} {
		calls.Store(0)
		r := Start(t.Context(), Config{URL: server.URL, Wrong: c.wrong, Rate: 500, Connections: 8, Limit: time.Second}).Wait()
		want := 0
		if !c.clean {
			want = r.Answered() / 10
		}
		if err := r.Clean(); r.Wrong != want || len(r.Failures) != min(want, maxFailures) || (err == nil) != c.clean {
			t.Errorf("wrong is %q: %d wrong, %d kept, %v; want %d: %s", c.wrong, r.Wrong, len(r.Failures), err, want, r)
		} else if err != nil && !strings.Contains(err.Error(), "the service behind is away") {
			t.Errorf("Clean: got %v, want the server's words", err)
		}
	}
}

func TestAStallIsCharged(t *testing.T) {
	release := make(chan struct{})
	var first atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if first.CompareAndSwap(false, true) {
			<-release
		}
	}))
	defer server.Close()
	g := Start(t.Context(), Config{URL: server.URL, Rate: 100, Connections: 1, Limit: time.Second})
	time.AfterFunc(500*time.Millisecond, func() { close(release) })
	r := g.Wait()
	if p := r.Percentile(75); p < 200*time.Millisecond {
		t.Errorf("p75 is %v though half a second of requests waited: %s", p, r)
	}
	if err := r.Clean(); err != nil {
		t.Error(err)
	}
}

func TestNoAnswerIsAnError(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	r := Start(t.Context(), Config{URL: server.URL, Rate: 50, Connections: 2, Limit: 200 * time.Millisecond}).Wait()
	if len(r.Errors) != 1 || r.Answered() != 0 || r.Clean() == nil {
		t.Errorf("got %s, want one kind of error", r)
	}
}
