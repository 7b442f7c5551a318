package dispatch

import (
	"errors"

	mixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/mixer/v1"
)

// Status tells of the rules and handlers of the plan in force.
func (d *Dispatcher) Status() (revision uint64, rules []*mixerv1.RuleStatus, handlers []*mixerv1.HandlerStatus) {
	g := d.acquire()
	defer g.release()
	for _, s := range g.plan.HandlerStatus {
		err := s.Err
		if built := g.failed[s.Name]; err == nil {
			err = built
		}
		c := of(&d.stats.handlers, s.Name)
		handlers = append(handlers, &mixerv1.HandlerStatus{
			Name: s.Name, Adapter: s.Adapter, Error: text(err), Calls: c.calls.Load(), Errors: c.errors.Load(),
		})
	}
	unmade := map[string]error{}
	for _, r := range g.plan.Rules {
		for _, a := range append(r.Checks[:len(r.Checks):len(r.Checks)], r.Reports...) {
			if err := g.failed[a.Handler.Object]; err != nil {
				unmade[r.Name] = errors.Join(errNoHandler, err)
			}
		}
	}
	for _, s := range g.plan.RuleStatus {
		err := s.Err
		if err == nil {
			err = unmade[s.Name]
		}
		c := of(&d.stats.rules, s.Name)
		rules = append(rules, &mixerv1.RuleStatus{
			Name: s.Name, Error: text(err), Matched: c.calls.Load(), Unanswered: c.errors.Load(), LastUnanswered: c.why(),
		})
	}
	return g.plan.Revision, rules, handlers
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
