// Package load sends HTTP requests at a fixed rate, whatever becomes of the earlier
// ones, and counts what comes back. In: a request to repeat, a rate, a limit. Out: counts
// and latencies. It stops by itself.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says what to send. A latency counts from the moment at which the request was
// due, so that a target that stalls is charged with the requests that it kept waiting.
type Config struct {
	URL    string
	Header http.Header
	// Wrong is what an answer with 200 must not say: a service behind the one that
	// answers may have failed. Empty looks at no answer's words.
	Wrong string
	// Rate is requests per second.
	Rate int
	// Connections is how many requests may be under way at once. What is due while all
	// are is sent late; what has waited for Timeout counts as not sent.
	Connections int
	// Timeout is for one request; 10 s if 0.
	Timeout time.Duration
	// Limit ends the run even if its context does not; 2 min if 0.
	Limit time.Duration
	// Dial opens connections; nil dials as usual.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// maxFailures is how many failures are kept with their words.
const maxFailures = 20

// maxText bounds how much of a failure's answer is kept, in bytes.
const maxText = 200

// maxBody bounds how much of an answer is read, in bytes.
const maxBody = 1 << 20

// Failure is an answer other than 200, one with 200 that says Wrong, or none.
type Failure struct {
	At     time.Duration // since the start
	Status int           // 0: no answer
	Text   string
}

// Result is what came back. Requests that were under way at the end are waited for.
type Result struct {
	Took   time.Duration
	Status map[int]int
	// Errors counts requests without an answer, by what was wrong.
	Errors map[string]int
	// Wrong counts answers with 200 that said Wrong.
	Wrong int
	// Unsent requests were due and could not be sent in time.
	Unsent   int
	Failures []Failure // the first ones
	sorted   []time.Duration
}

// Generator is a run. Make it with Start.
type Generator struct {
	cfg    Config
	client *http.Client
	cancel context.CancelFunc
	done   chan struct{}
	began  time.Time

	mu     sync.Mutex
	result Result
}

// Start begins to send. The run ends with ctx, by Stop, or at the limit.
func Start(ctx context.Context, cfg Config) *Generator {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Limit == 0 {
		cfg.Limit = 2 * time.Minute
	}
	g := &Generator{cfg: cfg, done: make(chan struct{}), began: time.Now()}
	g.result = Result{Status: map[int]int{}, Errors: map[string]int{}}
	g.client = &http.Client{Timeout: cfg.Timeout, Transport: &http.Transport{
		DialContext: cfg.Dial, MaxIdleConnsPerHost: cfg.Connections, MaxConnsPerHost: cfg.Connections, DisableCompression: true,
	}}
	ctx, g.cancel = context.WithTimeout(ctx, cfg.Limit)
	go g.run(ctx)
	return g
}

// Stop ends the run and returns its result.
func (g *Generator) Stop() Result {
	g.cancel()
	return g.Wait()
}

// Wait returns the result when the run has ended by itself.
func (g *Generator) Wait() Result {
	<-g.done
	return g.result
}

// So returns the counts up to now; it has no latencies.
func (g *Generator) So() Result {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.result
	r.Took, r.sorted = time.Since(g.began), nil
	r.Status, r.Errors, r.Failures = maps.Clone(r.Status), maps.Clone(r.Errors), slices.Clone(r.Failures)
	return r
}

func (g *Generator) run(ctx context.Context) {
	defer close(g.done)
	defer g.client.CloseIdleConnections()
	defer g.cancel()
	// Who is due waits here; longer than Timeout nobody does.
	due := make(chan time.Time, g.cfg.Rate*int(g.cfg.Timeout/time.Second+1))
	var workers sync.WaitGroup
	for range g.cfg.Connections {
		workers.Go(func() { g.work(context.WithoutCancel(ctx), due) }) // what was begun is ended
	}
	g.schedule(ctx, due)
	close(due)
	workers.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.result.Took = time.Since(g.began)
	slices.Sort(g.result.sorted)
}

// schedule says when requests are due, in step with the clock over the whole run.
func (g *Generator) schedule(ctx context.Context, due chan<- time.Time) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for until := int(time.Since(g.began).Seconds() * float64(g.cfg.Rate)); sent < until; sent++ {
			at := g.began.Add(time.Duration(float64(sent) / float64(g.cfg.Rate) * float64(time.Second)))
			select {
			case due <- at:
			default:
				g.unsent()
			}
		}
	}
}

func (g *Generator) work(ctx context.Context, due <-chan time.Time) {
	for at := range due {
		if time.Since(at) > g.cfg.Timeout {
			g.unsent()
			continue
		}
		status, text := g.send(ctx)
		g.count(at, status, text)
	}
}

// send returns the status and, if it is not 200 or the answer is wrong, the beginning of
// what came; for no answer 0 and the error.
func (g *Generator) send(ctx context.Context) (int, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.cfg.URL, nil)
	if err != nil {
		return 0, err.Error()
	}
	for name, values := range g.cfg.Header {
		request.Header[name] = values
	}
	response, err := g.client.Do(request)
	if err != nil {
		return 0, plain(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return 0, "read the answer: " + plain(err)
	}
	if wrong := g.cfg.Wrong; response.StatusCode == http.StatusOK {
		if wrong == "" || !bytes.Contains(body, []byte(wrong)) {
			return http.StatusOK, ""
		}
		return http.StatusOK, fmt.Sprintf("%q in %s", wrong, body[:min(len(body), maxText)])
	}
	return response.StatusCode, string(body[:min(len(body), maxText)])
}

// plain takes addresses and ports out of an error, so that equal ones count together.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	text := err.Error()
	if _, after, found := strings.Cut(text, `": `); found {
		return after
	}
	return text
}

func (g *Generator) unsent() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.result.Unsent++
}

func (g *Generator) count(due time.Time, status int, text string) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.result.sorted = append(g.result.sorted, now.Sub(due))
	if status == 0 {
		g.result.Errors[text]++
	} else {
		g.result.Status[status]++
	}
	failed := status != http.StatusOK || text != ""
	if failed && status == http.StatusOK {
		g.result.Wrong++
	}
	if failed && len(g.result.Failures) < maxFailures {
		g.result.Failures = append(g.result.Failures, Failure{At: now.Sub(g.began), Status: status, Text: text})
	}
}

// Answered is how many requests got an answer of any status.
func (r Result) Answered() int {
	n := 0
	for _, count := range r.Status {
		n += count
	}
	return n
}

// Rate is answers per second.
func (r Result) Rate() float64 { return float64(r.Answered()) / r.Took.Seconds() }

// Percentile returns the latency that p of 100 requests did not exceed.
func (r Result) Percentile(p float64) time.Duration {
	if len(r.sorted) == 0 {
		return 0
	}
	return r.sorted[min(len(r.sorted)-1, int(float64(len(r.sorted))*p/100))]
}

// Clean is nil when every request was sent and answered with 200, and no answer wrong.
func (r Result) Clean() error {
	if r.Unsent == 0 && r.Wrong == 0 && len(r.Errors) == 0 && r.Answered() == r.Status[http.StatusOK] && r.Answered() > 0 {
		return nil
	}
	return errors.New("not every request was answered well: " + r.String())
}

// String is a summary for people.
func (r Result) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d answers in %.1fs (%.0f/s), p50 %v, p99 %v", r.Answered(), r.Took.Seconds(), r.Rate(),
		r.Percentile(50).Round(10*time.Microsecond), r.Percentile(99).Round(10*time.Microsecond))
	for _, status := range slices.Sorted(maps.Keys(r.Status)) {
		fmt.Fprintf(&text, ", %d: %d", status, r.Status[status])
	}
	for _, what := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(&text, ", %q: %d", what, r.Errors[what])
	}
	if r.Wrong > 0 {
		fmt.Fprintf(&text, ", wrong: %d", r.Wrong)
	}
	if r.Unsent > 0 {
		fmt.Fprintf(&text, ", not sent: %d", r.Unsent)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&text, "\n  at %.3fs: %d %s", f.At.Seconds(), f.Status, f.Text)
	}
	return text.String()
}
