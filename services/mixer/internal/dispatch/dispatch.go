// Package dispatch runs the plan: it owns the handlers, swaps them when the plan
// changes, and asks them about requests. In: plans and requests. Out: verdicts. It
// reads no wire format and keeps nothing of a request.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
)

const (
	// maxCalls bounds the adapter calls under way at once; a call that finds no room
	// within its deadline was not answered.
	maxCalls = 1024
	// reportTimeout bounds one adapter call of a Report, for which nobody waits.
	reportTimeout = 2 * time.Second
	// maxRemembered bounds the destinations whose rules are remembered.
	maxRemembered = 10_000
)

// Dispatcher answers by the newest plan. Its methods are safe for concurrent use; Run
// runs once.
type Dispatcher struct {
	tel   *telemetry.Telemetry
	stats *stats
	slots chan struct{} // maxCalls: one for each adapter call under way
	plans chan swap     // 0: Swap hands over to Run

	mu      sync.Mutex
	current *generation // changed by Run only
}

type swap struct {
	plan *plan.Plan
	done chan struct{} // closed by Run
}

// New returns a Dispatcher of an empty plan.
func New(tel *telemetry.Telemetry) (*Dispatcher, error) {
	s, err := newStats(tel.Meter)
	if err != nil {
		return nil, err
	}
	return &Dispatcher{
		tel: tel, stats: s, slots: make(chan struct{}, maxCalls), plans: make(chan swap),
		current: newGeneration(&plan.Plan{}),
	}, nil
}

// Run swaps plans until ctx ends; then it closes all handlers.
func (d *Dispatcher) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			d.install(newGeneration(&plan.Plan{}))
			return nil
		case s := <-d.plans:
			d.install(d.next(ctx, s.plan))
			close(s.done)
		}
	}
}

// Swap makes p the plan in force and returns when it is. Handlers that stay as they
// were are kept; those that go are closed when their last call returns.
func (d *Dispatcher) Swap(ctx context.Context, p *plan.Plan) error {
	s := swap{p, make(chan struct{})}
	select {
	case d.plans <- s:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Dispatcher) install(g *generation) {
	d.mu.Lock()
	old := d.current
	d.current = g
	d.mu.Unlock()
	old.release()
}

// acquire returns the generation in force, held until released.
func (d *Dispatcher) acquire() *generation {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current.retain()
	return d.current
}

// next makes the generation of a plan, with the handlers of the current one where they
// are the same.
func (d *Dispatcher) next(ctx context.Context, p *plan.Plan) *generation {
	g := newGeneration(p)
	for _, h := range p.Handlers {
		if same := d.current.byKey(h.Key); same != nil {
			same.retain()
			g.handlers[h] = same
			continue
		}
		made, err := d.build(ctx, h)
		if err != nil {
			d.tel.Log.Error("a handler could not be made", telemetry.Object(h.Object), "error", err)
			g.failed[h.Object] = err
			continue
		}
		g.handlers[h] = made
	}
	return g
}

func (d *Dispatcher) build(ctx context.Context, h *plan.Handler) (made *live, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("adapter %s panicked while it was made: %v", h.Info.Name, r)
		}
	}()
	env := h.Env
	env.Log = d.tel.Log.With(telemetry.Object(h.Object), "adapter", h.Info.Name)
	built, err := h.Info.Build(h.Params, env)
	if err != nil {
		return nil, err
	}
	if built == nil {
		return nil, errors.New("the adapter made nothing")
	}
	return start(ctx, h, built, env.Log), nil
}
