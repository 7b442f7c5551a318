// Package register keeps a workload's entry in the registry: tells pilot's
// registration API where the workload is and whether it takes requests, again before
// the lease is over, and takes the entry away at the end. In: whether proxy and
// application are up. Out: calls to pilot. That pilot is away stops nothing.
package register

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// State is that of a workload in the registry.
type State string

// The states of outrigger.config.v1.Workload.
const (
	Ready    State = "READY"
	NotReady State = "NOT_READY"
	Draining State = "DRAINING"
)

// Workload is what is registered; the JSON form of outrigger.config.v1.Workload.
type Workload struct {
	Address  netip.Addr        `json:"address"`
	Labels   map[string]string `json:"labels,omitempty"`
	Account  string            `json:"account"`
	Ports    map[string]uint16 `json:"ports,omitempty"`
	Locality *Locality         `json:"locality,omitempty"`
	State    State             `json:"state"`
	Lease    string            `json:"lease"`
}

// Locality says where a workload runs.
type Locality struct {
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	SubZone string `json:"subZone,omitempty"`
}

// Config says what to register, and where.
type Config struct {
	// Pilot is its REST address, "https://host:port".
	Pilot           string
	Namespace, Name string
	// Workload is the entry; State and Lease are set by this package.
	Workload Workload
	// DrainTime is how long callers may take to notice that the workload drains.
	DrainTime time.Duration
}

// Lease is how long an entry holds; it is renewed three times as often.
const (
	Lease   = 30 * time.Second
	renewal = 10 * time.Second
	timeout = 3 * time.Second // of a call
)

// Registration is one workload's entry. Safe for concurrent use.
type Registration struct {
	cfg    Config
	client *http.Client
	log    *slog.Logger

	mu       sync.Mutex
	wanted   State // "" before the first Set or Drain
	taken    State // what pilot has, "" if not known
	renewals int
	said     string        // last error that was logged
	kick     chan struct{} // capacity 1: "look again"
}

// New registers nothing yet. client calls pilot.
func New(cfg Config, client *http.Client, log *slog.Logger) *Registration {
	return &Registration{cfg: cfg, client: client, log: log, kick: make(chan struct{}, 1)}
}

// Set says whether the workload takes requests; pilot is told at once. After Drain it
// does nothing.
func (r *Registration) Set(ready bool) {
	s := NotReady
	if ready {
		s = Ready
	}
	r.want(s)
}

// Drain says that the workload finishes what it has, for good.
func (r *Registration) Drain() { r.want(Draining) }

func (r *Registration) want(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wanted == s || r.wanted == Draining {
		return
	}
	r.wanted = s
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// State returns what is wanted ("" before the first Set or Drain), what pilot has taken ("" while that is not known), and
// how often pilot has taken it.
func (r *Registration) State() (wanted, taken State, renewals int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted, r.taken, r.renewals
}

// Run registers from the first Set or Drain until ctx ends; then it says that the
// workload drains, gives callers the drain time to notice, and takes the entry away.
// Before the first word it leaves pilot what an earlier agent said.
func (r *Registration) Run(ctx context.Context) error {
	var due <-chan time.Time // nothing to renew yet
	for pause := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return r.leave(context.WithoutCancel(ctx))
		case <-r.kick:
		case <-due:
		}
		pause = r.next(r.put(ctx), pause)
		due = time.After(pause)
	}
}

// next returns when to call again: a third of the lease later with jitter, or soon
// after an error, doubling to 5 s.
func (r *Registration) next(err error, last time.Duration) time.Duration {
	if err == nil {
		return renewal - rand.N(renewal/5)
	}
	if last < firstPause || last > lastPause {
		return firstPause
	}
	return min(2*last, lastPause)
}

const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
)

// put tells pilot the wanted state.
func (r *Registration) put(ctx context.Context) error {
	wanted, before, _ := r.State()
	w := r.cfg.Workload
	w.State, w.Lease = wanted, fmt.Sprintf("%ds", int(Lease.Seconds()))
	body, err := json.Marshal(w)
	if err == nil {
		err = r.call(ctx, http.MethodPut, body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.taken = ""
		if r.said != err.Error() && ctx.Err() == nil {
			r.said = err.Error()
			r.log.Warn("not registered", "error", err)
		}
		return err
	}
	r.taken, r.said = wanted, ""
	r.renewals++
	if before != wanted {
		r.log.Info("registered", "state", string(wanted))
	}
	return nil
}

// leave ends the entry. Without pilot it ends by itself with its lease. Unless pilot has
// the workload as not ready, callers may still come: that is so too if we have said
// nothing yet, for an earlier agent may have said that it is ready.
func (r *Registration) leave(ctx context.Context) error {
	_, taken, _ := r.State()
	r.Drain()
	err := r.put(ctx)
	if err == nil {
		if taken != NotReady {
			<-time.After(r.cfg.DrainTime)
		}
		err = r.call(ctx, http.MethodDelete, nil)
	}
	if err != nil {
		r.log.Warn("registry entry is left to its lease", "error", err)
	}
	return nil
}

// call makes one request about the entry.
func (r *Registration) call(ctx context.Context, method string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	url := r.cfg.Pilot + "/v1/workloads/" + r.cfg.Namespace + "/" + r.cfg.Name
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("registration: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return err // names method and address
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("registration: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var doc struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(answer, &doc) // the status says enough if it is not JSON
		return fmt.Errorf("registration refused: status %d: %s", res.StatusCode, doc.Message)
	}
	return nil
}
