package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/attr"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
)

// Validity of a verdict to which no rule contributed.
const (
	idleDuration = 10 * time.Second
	idleUses     = 200
)

// asked is a rule whose calls were begun, or that has an error and no calls.
type asked struct {
	rule   *plan.Rule
	ctx    context.Context
	cancel context.CancelFunc
	calls  []*call
	err    error
}

// Check asks the rules of a class about a request and returns when all have answered or
// used up their time. A rule that gives no answer in time, or whose match or instance
// has no value, counts as its onUnavailable says.
func (d *Dispatcher) Check(ctx context.Context, req *attr.Request, class plan.Class) plan.Verdict {
	g := d.acquire()
	defer g.release()
	var all []*asked
	for _, r := range g.concerning(destination(req)) {
		if len(r.Checks) == 0 || class == plan.Allow && r.Deny || class == plan.Deny && !r.Deny {
			continue
		}
		if a := d.ask(ctx, g, r, req); a != nil {
			all = append(all, a)
		}
	}
	var out verdict
	for _, a := range all {
		d.collect(a, &out)
	}
	return out.finish()
}

// destination reads what rules are found by; reading it makes the answer depend on it.
func destination(req *attr.Request) plan.Destination {
	d := plan.Destination{
		Service: req.Text("destination.service"), Namespace: req.Text("destination.namespace"),
		Protocol: req.Text("context.protocol"),
	}
	if d.Namespace == "" {
		// The second label of a service's host name is its namespace.
		if parts := strings.Split(d.Service, "."); len(parts) > 1 {
			d.Namespace = parts[1]
		}
	}
	if d.Protocol != "tcp" {
		d.Protocol = "http"
	}
	return d
}

// ask starts a rule's calls; nil if the rule does not match.
func (d *Dispatcher) ask(ctx context.Context, g *generation, r *plan.Rule, req *attr.Request) *asked {
	matched, err := r.Match.Match(req)
	a := &asked{rule: r, ctx: ctx, cancel: func() {}}
	if err != nil {
		a.err = fmt.Errorf("match: %w", err)
		return a
	}
	if !matched {
		return nil
	}
	d.stats.matched(r.Name)
	if a.calls, a.err = questions(g, r, req); a.err != nil {
		return a
	}
	if slices.ContainsFunc(a.calls, (*call).waits) {
		a.ctx, a.cancel = context.WithTimeout(ctx, r.Timeout)
	}
	for _, c := range a.calls {
		d.begin(a.ctx, g, c)
	}
	return a
}

// questions makes all of a rule's Check calls, or none.
func questions(g *generation, r *plan.Rule, req *attr.Request) ([]*call, error) {
	var out []*call
	for _, action := range r.Checks {
		h := g.handlers[action.Handler]
		if h == nil {
			return nil, errNoHandler
		}
		for _, i := range action.Instances {
			instance, err := i.Eval(req)
			if err != nil {
				return nil, err
			}
			out = append(out, &call{handler: action.Handler, live: h, template: i.Type().Template, instance: instance})
		}
	}
	return out, nil
}

// verdict adds up answers: the first refusal's code, the shortest validity.
type verdict struct {
	plan.Verdict
	messages []string
	answered bool
}

func (v *verdict) add(a adapter.Verdict, from string) {
	v.holds(a.ValidDuration, a.ValidUseCount)
	if a.Code != codes.OK {
		v.refuse(a.Code, from+":"+a.Message)
	}
}

func (v *verdict) refuse(code codes.Code, message string) {
	if v.Code == codes.OK {
		v.Code = code
	}
	v.messages = append(v.messages, message)
}

func (v *verdict) holds(d time.Duration, uses int32) {
	if !v.answered {
		v.ValidDuration, v.ValidUseCount, v.answered = d, uses, true
		return
	}
	v.ValidDuration = min(v.ValidDuration, d)
	v.ValidUseCount = min(v.ValidUseCount, uses)
}

func (v *verdict) finish() plan.Verdict {
	if !v.answered {
		v.holds(idleDuration, idleUses)
	}
	v.Message = strings.Join(v.messages, ", ")
	return v.Verdict
}

// collect waits for a rule's answers.
func (d *Dispatcher) collect(a *asked, out *verdict) {
	defer a.cancel()
	for _, c := range a.calls {
		answered := c.wait(a.ctx)
		if answered.err != nil {
			a.err = fmt.Errorf("handler %s: %w", c.handler.Name, answered.err)
			continue
		}
		out.add(answered.verdict, c.handler.Name)
	}
	if a.err == nil {
		return
	}
	d.unavailable(a, out)
}

// unavailable is a rule without an answer.
func (d *Dispatcher) unavailable(a *asked, out *verdict) {
	d.stats.unanswered(a.rule.Name, a.err)
	d.tel.Log.Debug("a rule gave no answer", telemetry.Object(a.rule.Name), "error", a.err)
	if _, absent := rule.AbsentAttribute(a.err); absent {
		// What was absent is among what the answer depends on, so it may be remembered.
		out.holds(idleDuration, idleUses)
	} else {
		out.holds(0, 0)
	}
	if a.rule.Deny {
		out.refuse(codes.Unavailable, a.rule.Name+":no answer, and the rule says to deny then")
	}
}
