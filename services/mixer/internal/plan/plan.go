// Package plan resolves policy objects: every name becomes what it names, every
// expression a program, before the first request. In: the objects of the config bucket
// and the list of adapters. Out: an immutable Plan, and for each object that cannot act
// the reason. It makes no handlers and does no I/O.
package plan

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/expr"
)

// DefaultTimeout is how long a request waits for one rule.
const DefaultTimeout = 200 * time.Millisecond

// Plan is what mixer does, at one revision. It does not change. The zero Plan does
// nothing.
type Plan struct {
	Revision uint64
	// Rules act; sorted by namespace and name.
	Rules []*Rule
	// Handlers are those that Rules use, sorted by full name.
	Handlers []*Handler
	// RuleStatus and HandlerStatus tell of every Rule and Handler object, sorted.
	RuleStatus    []Status
	HandlerStatus []Status
	// Problems are what is wrong with other objects: "AttributeManifest ns/name: …".
	Problems []string

	root map[string]bool
}

// Status says whether an object acts.
type Status struct {
	// Name is "name.namespace".
	Name string
	// Adapter, for handlers.
	Adapter string
	// Err is why the object does not act, nil if it does.
	Err error
}

// Rule is a rule with everything it names.
type Rule struct {
	// Name is "name.namespace".
	Name      string
	Namespace string
	Match     *rule.Program
	// TCP and HTTP say for which protocols the rule is.
	TCP, HTTP bool
	// Deny is what becomes of a request when the rule cannot be asked.
	Deny    bool
	Timeout time.Duration
	// Checks decide, Reports tell; one of them is not empty.
	Checks, Reports []Action
}

// Action sends instances to a handler.
type Action struct {
	Handler   *Handler
	Instances []*expr.Instance
}

// Handler is a configured adapter that is not made yet.
type Handler struct {
	// Name is the full name, "name.adapter.namespace"; Object "name.namespace".
	Name, Object string
	Info         adapter.Info
	Params       proto.Message
	Env          adapter.Env
	// Key is equal for handlers that would be made alike.
	Key string
}

// Destination is what is known of where a request goes before it is matched.
type Destination struct {
	// Service is the host name asked for, Namespace that of its service; either may be
	// empty if unknown.
	Service, Namespace string
	Protocol           string
}

// Concerning returns the rules that can be true for a request to d, in their order:
// those of the root namespaces and of d's own, without those whose match is false
// whatever the rest of the request is.
func (p *Plan) Concerning(d Destination) []*Rule {
	known := map[string]any{}
	for name, v := range map[string]string{
		"destination.service": d.Service, "destination.namespace": d.Namespace, "context.protocol": d.Protocol,
	} {
		if v != "" {
			known[name] = v
		}
	}
	var out []*Rule
	for _, r := range p.Rules {
		if !p.root[r.Namespace] && r.Namespace != d.Namespace {
			continue
		}
		if tcp := d.Protocol == "tcp"; tcp && !r.TCP || !tcp && !r.HTTP {
			continue
		}
		if rule.MayConcern(r.Match, known) {
			out = append(out, r)
		}
	}
	return out
}
