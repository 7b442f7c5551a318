package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
)

// generation is a plan with its handlers. Whoever uses it holds it; with the last hold
// its handlers are let go.
type generation struct {
	plan     *plan.Plan
	handlers map[*plan.Handler]*live
	failed   map[string]error // by object
	holds    atomic.Int64

	mu         sync.Mutex
	remembered map[plan.Destination][]*plan.Rule
}

// newGeneration returns one with one hold: of being in force.
func newGeneration(p *plan.Plan) *generation {
	g := &generation{
		plan: p, handlers: map[*plan.Handler]*live{}, failed: map[string]error{},
		remembered: map[plan.Destination][]*plan.Rule{},
	}
	g.holds.Store(1)
	return g
}

func (g *generation) retain() { g.holds.Add(1) }

func (g *generation) release() {
	if g.holds.Add(-1) > 0 {
		return
	}
	for _, h := range g.handlers {
		h.release()
	}
}

func (g *generation) byKey(key string) *live {
	for h, l := range g.handlers {
		if h.Key == key {
			return l
		}
	}
	return nil
}

// concerning is Plan.Concerning, remembered: the rules of a destination do not change
// within a plan.
func (g *generation) concerning(d plan.Destination) []*plan.Rule {
	g.mu.Lock()
	rules, ok := g.remembered[d]
	g.mu.Unlock()
	if ok {
		return rules
	}
	rules = g.plan.Concerning(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.remembered) >= maxRemembered {
		clear(g.remembered)
	}
	g.remembered[d] = rules
	return rules
}

// live is a handler at work. Each generation that uses it holds it once.
type live struct {
	name    string
	handler adapter.Handler
	// immediate is what the handler says of itself, see adapter.Immediate.
	immediate bool
	holds     atomic.Int64
	stop      context.CancelFunc
	done      chan struct{} // closed when the handler's own work ended
	log       *slog.Logger
}

// start starts the work a handler has of its own.
func start(ctx context.Context, h *plan.Handler, made adapter.Handler, log *slog.Logger) *live {
	ctx, stop := context.WithCancel(ctx)
	l := &live{name: h.Name, handler: made, stop: stop, done: make(chan struct{}), log: log}
	l.holds.Store(1)
	if i, ok := made.(adapter.Immediate); ok {
		l.immediate = i.Immediate()
	}
	runner, ok := made.(adapter.Runner)
	if !ok {
		close(l.done)
		return l
	}
	go func() {
		defer close(l.done)
		if err := guarded(func() error { return runner.Run(ctx) }); err != nil && ctx.Err() == nil {
			log.Error("a handler's own work ended", "error", err)
		}
	}()
	return l
}

func (l *live) retain() { l.holds.Add(1) }

func (l *live) release() {
	if l.holds.Add(-1) > 0 {
		return
	}
	l.stop()
	<-l.done
	if err := guarded(l.handler.Close); err != nil {
		l.log.Warn("a handler was not closed", "error", err)
	}
}

// guarded turns a panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the adapter panicked: %v", r)
		}
	}()
	return f()
}

var errNoHandler = errors.New("its handler could not be made")
