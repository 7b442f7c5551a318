package model

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Route is a RouteRule with its names resolved.
type Route struct {
	Ref      Ref
	Revision uint64
	// Host is the service whose requests are ruled.
	Host       string
	Precedence int32
	// SourceHost and SourceLabels restrict the rule to some callers; "" is no
	// restriction.
	SourceHost   string
	SourceLabels Labels
	Headers      []HeaderMatch
	Targets      []Target
	// Timeout is 0 if the rule says nothing.
	Timeout time.Duration
	Fault   *configv1.HTTPFaultInjection
}

// HeaderMatch is one condition on a request.
type HeaderMatch struct {
	// Name is lower case; uri, scheme, method and authority are the pseudo headers.
	Name  string
	Match *configv1.StringMatch
}

// Target is one destination of a route.
type Target struct {
	Host   string
	Labels Labels
	Weight uint32
}

// Unconditional reports whether the rule takes every request of the callers it is for.
func (r *Route) Unconditional() bool { return len(r.Headers) == 0 }

// Resolve returns the host that a reference means, seen from a namespace.
//
// Source: config.istio.io/v1alpha2, IstioService: service verbatim; else name and
// namespace, then the domain if there is one, else svc and the mesh domain.
func Resolve(n *configv1.ServiceName, namespace, domain string) string {
	if n.GetService() != "" {
		return n.GetService()
	}
	ns := cmp.Or(n.GetNamespace(), namespace)
	if n.GetDomain() != "" {
		return n.GetName() + "." + ns + "." + n.GetDomain()
	}
	return HostName(n.GetName(), ns, domain)
}

func newRoute(o *configv1.Object, domain string) *Route {
	spec, ref := o.GetRouteRule(), RefOf(o)
	r := &Route{
		Ref: ref, Revision: o.GetMetadata().GetRevision(), Precedence: spec.GetPrecedence(),
		Host:    Resolve(spec.GetDestination(), ref.Namespace, domain),
		Timeout: spec.GetHttpReqTimeout().GetSimpleTimeout().GetTimeout().AsDuration(),
		Fault:   spec.GetHttpFault(),
	}
	if src := spec.GetMatch().GetSource(); src != nil {
		if src.GetName() != "" || src.GetService() != "" {
			r.SourceHost = Resolve(src, ref.Namespace, domain)
		}
		r.SourceLabels = LabelsOf(src.GetLabels())
	}
	for name, m := range spec.GetMatch().GetRequest().GetHeaders() {
		r.Headers = append(r.Headers, HeaderMatch{name, m})
	}
	slices.SortFunc(r.Headers, func(a, b HeaderMatch) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range spec.GetRoute() {
		t := Target{Host: r.Host, Labels: LabelsOf(d.GetLabels()), Weight: uint32(d.GetWeight())} //nolint:gosec // 0 to 100, checked by ingest
		if d.GetDestination() != nil {
			t.Host = Resolve(d.GetDestination(), ref.Namespace, domain)
		}
		r.Targets = append(r.Targets, t)
	}
	switch len(r.Targets) {
	case 0:
		r.Targets = []Target{{Host: r.Host, Weight: 100}}
	case 1:
		r.Targets[0].Weight = 100
	}
	return r
}

// Hides reports whether every request that other would take is taken by r, if that is tried
// first.
func (r *Route) Hides(other *Route) bool {
	return (r.SourceHost == "" || r.SourceHost == other.SourceHost) && r.SourceLabels.Within(other.SourceLabels) &&
		!slices.ContainsFunc(r.Headers, func(h HeaderMatch) bool {
			return !slices.ContainsFunc(other.Headers, func(o HeaderMatch) bool { return h.Name == o.Name && proto.Equal(h.Match, o.Match) })
		})
}

// RoutesByHost sorts rules into the order in which they are tried: larger precedence
// first, then by namespace and name.
func RoutesByHost(objects []*configv1.Object, domain string) map[string][]*Route {
	out := map[string][]*Route{}
	for _, o := range objects {
		if o.GetRouteRule() != nil {
			r := newRoute(o, domain)
			out[r.Host] = append(out[r.Host], r)
		}
	}
	for _, rules := range out {
		slices.SortStableFunc(rules, func(a, b *Route) int {
			return cmp.Or(cmp.Compare(b.Precedence, a.Precedence), a.Ref.Compare(b.Ref))
		})
	}
	return out
}

// hosts are those that the rule names.
func (r *Route) hosts() []string {
	out := []string{r.Host}
	if r.SourceHost != "" {
		out = append(out, r.SourceHost)
	}
	for _, t := range r.Targets {
		out = append(out, t.Host)
	}
	return out
}

// Needs returns ref and, of a RouteRule, the services that it names: without them it
// does nothing.
func (s *Snapshot) Needs(ref Ref) []Ref {
	out := []Ref{ref}
	if ref.Kind != "RouteRule" {
		return out
	}
	for _, o := range s.Objects {
		if RefOf(o) != ref {
			continue
		}
		for _, host := range newRoute(o, s.Settings.Domain).hosts() {
			name, ns, _ := strings.Cut(strings.TrimSuffix(host, ".svc."+s.Settings.Domain), ".")
			out = append(out, Ref{"Service", ns, name})
		}
	}
	return out
}
