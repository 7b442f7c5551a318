package model

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// DefaultPolicyTimeout is how long a request waits for a Rule that names no timeout.
const DefaultPolicyTimeout = 200 * time.Millisecond

// LoggedHeaders are those that proxies are asked to put into records, beside what every
// record has of a request.
func LoggedHeaders() []string {
	return []string{":method", "cookie", "user-agent", "x-user", "x-request-id"}
}

// RecordedHeaders are the headers of a request that its record has, sorted.
func RecordedHeaders() []string {
	out := append(LoggedHeaders(), ":authority", ":path", ":scheme", "referer", "x-forwarded-for")
	slices.Sort(out)
	return out
}

// Policy is a Rule as far as proxies must know it: whether to ask mixer, and what to do
// without an answer.
type Policy struct {
	Ref      Ref
	Revision uint64
	// Uses are the handlers and instances that the rule names.
	Uses []Ref
	// Check: the rule can refuse a request. Report: it records requests.
	Check, Report bool
	// Deny is what becomes of a request when mixer cannot be asked.
	Deny    bool
	Timeout time.Duration

	match *rule.Program
}

// MayConcern reports whether the rule can match a request of which known holds.
func (p *Policy) MayConcern(known map[string]any) bool {
	return p.match == nil || rule.MayConcern(p.match, known)
}

// checkTemplates are those whose actions decide; all others only record.
var checkTemplates = map[string]bool{"checknothing": true, "listentry": true}

// policies returns the rules that act. A rule with an expression that cannot be
// compiled concerns everything, since mixer may know more attributes than pilot.
func policies(objects []*configv1.Object) []*Policy {
	templates := map[Ref]string{}
	var manifests []*configv1.AttributeManifest
	for _, o := range objects {
		if i := o.GetInstance(); i != nil {
			templates[RefOf(o)] = i.GetTemplate()
		}
		if m := o.GetAttributeManifest(); m != nil {
			manifests = append(manifests, m)
		}
	}
	language, err := rule.New(manifests...)
	if err != nil {
		language = nil
	}
	var out []*Policy
	for _, o := range objects {
		if o.GetRule() == nil {
			continue
		}
		if p := newPolicy(o, templates); p.Check || p.Report {
			p.match = compile(language, o.GetRule().GetMatch())
			out = append(out, p)
		}
	}
	return out
}

func compile(l *rule.Language, match string) *rule.Program {
	if match == "" || l == nil {
		return nil
	}
	prg, err := l.Compile(match, rule.Bool)
	if err != nil {
		return nil
	}
	return prg
}

func newPolicy(o *configv1.Object, templates map[Ref]string) *Policy {
	spec, ref := o.GetRule(), RefOf(o)
	p := &Policy{
		Ref: ref, Revision: o.GetMetadata().GetRevision(),
		Deny:    spec.GetOnUnavailable() == configv1.Rule_DENY,
		Timeout: cmp.Or(spec.GetTimeout().AsDuration(), DefaultPolicyTimeout),
	}
	for _, a := range spec.GetActions() {
		p.Uses = append(p.Uses, named("Handler", a.GetHandler(), ref.Namespace))
		for _, name := range a.GetInstances() {
			instance := named("Instance", name, ref.Namespace)
			p.Uses = append(p.Uses, instance)
			switch t, known := templates[instance]; {
			case known && checkTemplates[t]:
				p.Check = true
			case known:
				p.Report = true
			}
		}
	}
	return p
}

// named resolves "name" or "namespace/name".
func named(kind, name, namespace string) Ref {
	if ns, short, ok := strings.Cut(name, "/"); ok {
		return Ref{kind, ns, short}
	}
	return Ref{kind, namespace, name}
}
