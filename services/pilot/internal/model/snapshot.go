// Package model is what pilot knows of the mesh at one moment. In: the accepted
// objects and the registry. Out: an immutable Snapshot with every question that the
// translation asks already answered. It does no I/O, and it never changes a Snapshot
// that it returned.
package model

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Ref names an object. Comparable.
type Ref struct{ Kind, Namespace, Name string }

// String is the form for people: "RouteRule default/reviews".
func (r Ref) String() string { return r.Kind + " " + r.Namespace + "/" + r.Name }

// RefOf names o.
func RefOf(o *configv1.Object) Ref {
	return Ref{o.GetKind(), o.GetMetadata().GetNamespace(), o.GetMetadata().GetName()}
}

// Compare orders refs by kind, namespace and name.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name))
}

// OriginConfig is the origin of a registry entry that mirrors a Service or Workload of
// the config bucket.
const OriginConfig = "registry:config"

// Settings are the facts that the whole mesh shares.
type Settings struct {
	// Domain ends every service's host name: <name>.<namespace>.svc.<Domain>.
	Domain string
	// TrustDomain is that of all identities.
	TrustDomain string
	// RootNamespaces are those whose Rules concern every service.
	RootNamespaces []string
}

// Input is everything a snapshot is made of. Objects carry their revision in their
// metadata; they are shared and not changed.
type Input struct {
	Settings                         Settings
	Revision, Read, RegistryRevision uint64
	Behind                           map[Ref]string
	Arrived                          map[Ref]uint64
	Config                           []*configv1.Object
	Registry                         []*configv1.Object
}

// Snapshot is the mesh at one moment. All of it is immutable and safe for concurrent
// use.
type Snapshot struct {
	Settings Settings
	// Revision of the config that acts, but for what is behind. Read is the one that
	// Objects are of: the same or a later one.
	Revision, Read   uint64
	RegistryRevision uint64
	// Behind are services and workloads of which the registry has not what the config
	// says, although Revision says so: they cannot be copied, for the reason given.
	Behind map[Ref]string
	// Arrived says at which RegistryRevision those that were behind were there.
	Arrived map[Ref]uint64
	// Objects are the config objects in order of their refs.
	Objects []*configv1.Object
	// Services in order of their host names.
	Services []*Service
	// Workloads by namespace and name.
	Workloads map[Ref]*Workload
	// Policies are the Rules that act, in order of their refs.
	Policies []*Policy

	byHost  map[string]*Service
	routes  map[string][]*Route
	subsets map[string][]Labels
}

// Build makes a snapshot. It takes objects that ingest accepted; what does not fit all
// the same (a Rule whose handler is gone, say) does not act, and nothing else suffers.
func Build(in Input) *Snapshot {
	s := &Snapshot{
		Settings: in.Settings, Revision: in.Revision, Read: in.Read, RegistryRevision: in.RegistryRevision,
		Behind: in.Behind, Arrived: in.Arrived,
		Objects:   slices.SortedFunc(slices.Values(in.Config), func(a, b *configv1.Object) int { return RefOf(a).Compare(RefOf(b)) }),
		Workloads: map[Ref]*Workload{},
		byHost:    map[string]*Service{},
	}
	s.addWorkloads(in.Registry)
	s.addServices(in.Registry)
	s.routes = RoutesByHost(s.Objects, in.Settings.Domain)
	s.subsets = subsetsByHost(s.routes)
	s.Policies = policies(s.Objects)
	return s
}

// Service returns the service of a host name, nil if there is none.
func (s *Snapshot) Service(host string) *Service { return s.byHost[host] }

// Routes returns the rules for a host, first the one to be tried first.
func (s *Snapshot) Routes(host string) []*Route { return s.routes[host] }

// Subsets returns the distinct label sets that rules route to at host, beside the empty
// one, in a fixed order.
func (s *Snapshot) Subsets(host string) []Labels { return s.subsets[host] }

// subsetsByHost collects what rules route to.
func subsetsByHost(routes map[string][]*Route) map[string][]Labels {
	out := map[string][]Labels{}
	for _, rules := range routes {
		for _, r := range rules {
			for _, t := range r.Targets {
				if t.Labels != "" && !slices.Contains(out[t.Host], t.Labels) {
					out[t.Host] = append(out[t.Host], t.Labels)
				}
			}
		}
	}
	for _, labels := range out {
		slices.Sort(labels)
	}
	return out
}

// ServicesOf returns the services that select a workload, in order.
func (s *Snapshot) ServicesOf(w *Workload) []*Service {
	var out []*Service
	for _, svc := range s.Services {
		if svc.Selects(w) {
			out = append(out, svc)
		}
	}
	return out
}

// Labels is a label set in canonical text: "k=v,k2=v2", sorted. Comparable.
type Labels string

// LabelsOf returns the canonical text of m.
func LabelsOf(m map[string]string) Labels {
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return Labels(strings.Join(parts, ","))
}

// Within reports whether more has all of the labels.
func (l Labels) Within(more Labels) bool {
	if l == "" {
		return true
	}
	all := strings.Split(string(more), ",")
	for part := range strings.SplitSeq(string(l), ",") {
		if !slices.Contains(all, part) {
			return false
		}
	}
	return true
}

// SubsetOf reports whether m has all of the labels.
func (l Labels) SubsetOf(m map[string]string) bool {
	if l == "" {
		return true
	}
	for part := range strings.SplitSeq(string(l), ",") {
		k, v, _ := strings.Cut(part, "=")
		if got, ok := m[k]; !ok || got != v {
			return false
		}
	}
	return true
}
