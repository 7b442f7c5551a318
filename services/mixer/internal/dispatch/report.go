package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/attr"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
)

// Report tells the rules about a request that is over, and returns when their adapters
// have taken it. What goes wrong in one rule does not keep it from the others; it is
// counted and returned.
func (d *Dispatcher) Report(ctx context.Context, req *attr.Request) error {
	g := d.acquire()
	defer g.release()
	var errs []error
	var calls []*call
	for _, r := range g.concerning(destination(req)) {
		if len(r.Reports) == 0 {
			continue
		}
		made, err := d.tell(g, r, req)
		if err != nil {
			errs = append(errs, d.untold(r, err))
		}
		calls = append(calls, made...)
	}
	if slices.ContainsFunc(calls, (*call).waits) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, reportTimeout)
		defer cancel()
	}
	for _, c := range calls {
		d.begin(ctx, g, c)
	}
	for _, c := range calls {
		if a := c.wait(ctx); a.err != nil {
			errs = append(errs, fmt.Errorf("handler %s: %w", c.handler.Name, a.err))
		}
	}
	return errors.Join(errs...)
}

func (d *Dispatcher) untold(r *plan.Rule, err error) error {
	d.stats.unanswered(r.Name, err)
	d.tel.Log.Debug("a rule recorded nothing", telemetry.Object(r.Name), "error", err)
	return fmt.Errorf("rule %s: %w", r.Name, err)
}

// tell makes a rule's calls. An instance that has no value is left out.
func (d *Dispatcher) tell(g *generation, r *plan.Rule, req *attr.Request) ([]*call, error) {
	matched, err := r.Match.Match(req)
	if err != nil {
		return nil, fmt.Errorf("match: %w", err)
	}
	if !matched {
		return nil, nil
	}
	d.stats.matched(r.Name)
	var out []*call
	var errs []error
	for _, action := range r.Reports {
		h := g.handlers[action.Handler]
		if h == nil {
			errs = append(errs, errNoHandler)
			continue
		}
		for _, i := range action.Instances {
			instance, err := i.Eval(req)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			out = append(out, &call{handler: action.Handler, live: h, template: i.Type().Template, instance: instance})
		}
	}
	return out, errors.Join(errs...)
}
