// Package registry holds what is known of services and workloads. In: the objects of
// the registry bucket. Out: who is behind an address, and whether a certificate bears
// that out. A Snapshot does not change and the package does no I/O.
package registry

import (
	"cmp"
	"net/netip"
	"slices"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Workload is one running instance. It is shared and must not be changed.
type Workload struct {
	Name, Namespace, Account string
	Address                  netip.Addr
	Labels                   map[string]string
	// Services are the host names of the services it belongs to, sorted.
	Services []string

	asSource, asDestination known
}

// Service is a host name of the mesh.
type Service struct {
	Host, Name, Namespace string
	accounts              map[string]bool
}

type name struct{ namespace, name string }

// Snapshot is the registry at one revision. The zero Snapshot knows nothing.
type Snapshot struct {
	Revision  uint64
	domain    string
	byAddress map[netip.Addr][]*Workload
	byName    map[name]*Workload
	services  map[string]*Service
	departed  []*Workload // that are still known, in the order in which they left
}

// maxDeparted bounds what is remembered of workloads that left.
const maxDeparted = 10_000

// After returns s with the workloads that before knew and s does not, as long as nobody
// replaces them. Who left the registry may still call, because what
// registers it hangs or because it ends what it has begun, and a rule about it must not
// stop to hold: its account is proven by its certificate, and what else is known of it
// was true when it was last heard of. The last maxDeparted are kept. s is used up.
func (s *Snapshot) After(before *Snapshot) *Snapshot {
	known := map[*Workload]bool{}
	for _, w := range before.departed {
		known[w] = true
	}
	all := slices.Clone(before.departed)
	for _, w := range before.byName {
		if !known[w] && w.Address.IsValid() {
			all = append(all, w)
		}
	}
	all = slices.DeleteFunc(all, s.replaced)
	s.departed = all[max(0, len(all)-maxDeparted):]
	for _, w := range s.departed {
		s.byName[name{w.Namespace, w.Name}] = w
		s.byAddress[w.Address] = append(s.byAddress[w.Address], w)
	}
	return s
}

// replaced reports whether somebody has the name of w, or could not be told from it.
func (s *Snapshot) replaced(w *Workload) bool {
	return s.byName[name{w.Namespace, w.Name}] != nil || slices.ContainsFunc(s.byAddress[w.Address], func(x *Workload) bool {
		return x.Namespace == w.Namespace && x.Account == w.Account
	})
}

// Build makes a Snapshot of Service and Workload objects; others are passed over.
// domain is both the trust domain and the suffix of service names.
func Build(objects []*configv1.Object, domain string, revision uint64) *Snapshot {
	s := &Snapshot{
		Revision: revision, domain: domain, byAddress: map[netip.Addr][]*Workload{},
		byName: map[name]*Workload{}, services: map[string]*Service{},
	}
	for _, o := range objects {
		if o.GetWorkload() != nil {
			s.add(o)
		}
	}
	inNamespace := map[string][]*Workload{}
	for _, w := range s.byName {
		inNamespace[w.Namespace] = append(inNamespace[w.Namespace], w)
	}
	for _, o := range objects {
		if o.GetService() != nil {
			s.serve(o, inNamespace[o.GetMetadata().GetNamespace()])
		}
	}
	for _, same := range s.byAddress {
		slices.SortFunc(same, func(a, b *Workload) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
	}
	for _, w := range s.byName {
		slices.Sort(w.Services)
	}
	return s
}

func (s *Snapshot) add(o *configv1.Object) {
	meta, spec := o.GetMetadata(), o.GetWorkload()
	w := &Workload{
		Name: meta.GetName(), Namespace: meta.GetNamespace(), Account: spec.GetAccount(), Labels: spec.GetLabels(),
	}
	if w.Labels == nil {
		w.Labels = map[string]string{}
	}
	s.byName[name{w.Namespace, w.Name}] = w
	if a, err := netip.ParseAddr(spec.GetAddress()); err == nil {
		w.Address = a.Unmap()
		s.byAddress[w.Address] = append(s.byAddress[w.Address], w)
	}
}

// serve adds a service and finds its workloads among those of its namespace.
func (s *Snapshot) serve(o *configv1.Object, workloads []*Workload) {
	meta, spec := o.GetMetadata(), o.GetService()
	svc := &Service{
		Host: s.host(meta.GetName(), meta.GetNamespace()),
		Name: meta.GetName(), Namespace: meta.GetNamespace(), accounts: map[string]bool{},
	}
	s.services[svc.Host] = svc
	if len(spec.GetSelector()) == 0 {
		return
	}
	for _, w := range workloads {
		if selects(spec.GetSelector(), w.Labels) && (len(spec.GetAccounts()) == 0 || slices.Contains(spec.GetAccounts(), w.Account)) {
			w.Services = append(w.Services, svc.Host)
			svc.accounts[w.Account] = true
		}
	}
}

func (s *Snapshot) host(name, namespace string) string {
	return name + "." + namespace + ".svc." + s.domain
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Named returns a workload by its name.
func (s *Snapshot) Named(namespace, workload string) (*Workload, bool) {
	w, ok := s.byName[name{namespace, workload}]
	return w, ok
}

// Known reports whether any workload has the address.
func (s *Snapshot) Known(address netip.Addr) bool { return len(s.byAddress[address.Unmap()]) > 0 }

// Elsewhere reports whether address is that of others of w's account and not of w. One that
// nobody has may be w's own, translated on the way; so may that of another account, whose
// workloads have other certificates.
func (s *Snapshot) Elsewhere(w *Workload, address netip.Addr) bool {
	others := false
	for _, there := range s.byAddress[address.Unmap()] {
		if there == w {
			return false
		}
		others = others || there.Namespace == w.Namespace && there.Account == w.Account
	}
	return others
}

// Peer returns the workload that has the address and whose account is id's. If several
// have both, none can be told from the others and none is returned.
func (s *Snapshot) Peer(address netip.Addr, id spiffe.ID) (*Workload, bool) {
	var found *Workload
	for _, w := range s.byAddress[address.Unmap()] {
		if !s.Is(w, id) {
			continue
		}
		if found != nil {
			return nil, false
		}
		found = w
	}
	return found, found != nil
}

// Is reports whether id is the account of w.
func (s *Snapshot) Is(w *Workload, id spiffe.ID) bool {
	return w.Account != "" && id.TrustDomain() == s.domain && id.Namespace() == w.Namespace && id.Account() == w.Account
}

// Service returns a service by its host name.
func (s *Snapshot) Service(host string) (*Service, bool) {
	svc, ok := s.services[host]
	return svc, ok
}

// Serves reports whether a workload of id's account is behind the service.
func (s *Snapshot) Serves(host string, id spiffe.ID) bool {
	svc, ok := s.services[host]
	return ok && id.TrustDomain() == s.domain && id.Namespace() == svc.Namespace && svc.accounts[id.Account()]
}

// Sizes returns how many services and workloads there are.
func (s *Snapshot) Sizes() (services, workloads int) {
	return len(s.services), len(s.byName) - len(s.departed)
}
