package model

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Workload is one running instance.
type Workload struct {
	Ref     Ref
	Address string
	Labels  map[string]string
	// Account is the SPIFFE ID, zero for a workload without mesh identity.
	Account  spiffe.ID
	Ports    map[string]uint32
	State    configv1.Workload_State
	Revision uint64
	// Leased is set if something beside the workload keeps it registered: it has a proxy.
	Leased bool
}

// Ready reports whether the workload takes new requests.
func (w *Workload) Ready() bool {
	return w.State == configv1.Workload_STATE_UNSPECIFIED || w.State == configv1.Workload_READY
}

// Port is one port of a service.
type Port struct {
	Name     string
	Number   uint32
	Protocol configv1.Protocol
}

// HTTP reports whether requests on this port are routed one by one.
func (p Port) HTTP() bool {
	switch p.Protocol {
	case configv1.Protocol_HTTP, configv1.Protocol_HTTP2, configv1.Protocol_GRPC:
		return true
	}
	return false
}

// HTTP2 reports whether upstream connections speak HTTP/2.
func (p Port) HTTP2() bool {
	return p.Protocol == configv1.Protocol_HTTP2 || p.Protocol == configv1.Protocol_GRPC
}

// Service is a name with ports and the workloads behind it.
type Service struct {
	Ref      Ref
	Host     string
	Ports    []Port
	Selector Labels
	// Address is the virtual address, "" for a headless service.
	Address  string
	Headless bool
	Ingress  []*configv1.IngressRoute
	// ExternalHosts are the names under which egress carries the service; the service
	// is outside of the mesh if there are any.
	ExternalHosts []string
	// Members are the accounts whose workloads may stand for the service; all if none.
	Members []string
	// Workloads in order of their names.
	Workloads []*Workload
	// Accounts that the workloads run as, sorted, each once.
	Accounts []string
	// Version changes whenever anything above does.
	Version string
}

// HostName is the host of a service.
func HostName(name, namespace, domain string) string {
	return name + "." + namespace + ".svc." + domain
}

// Selects reports whether the service stands for w. The labels are w's own word, its
// account is proven.
func (s *Service) Selects(w *Workload) bool {
	return s.Ref.Namespace == w.Ref.Namespace && s.Selector != "" && s.Selector.SubsetOf(w.Labels) &&
		(len(s.Members) == 0 || slices.Contains(s.Members, w.Account.Account()))
}

// Port returns the port with a number.
func (s *Service) Port(number uint32) (Port, bool) {
	i := slices.IndexFunc(s.Ports, func(p Port) bool { return p.Number == number })
	if i < 0 {
		return Port{}, false
	}
	return s.Ports[i], true
}

// TargetPort is where w listens for the service's port p.
func (w *Workload) TargetPort(p Port) uint32 {
	if n := w.Ports[p.Name]; n != 0 {
		return n
	}
	return p.Number
}

func (s *Snapshot) addWorkloads(objects []*configv1.Object) {
	for _, o := range objects {
		w := o.GetWorkload()
		if w == nil {
			continue
		}
		ref := RefOf(o)
		m := &Workload{
			Ref: ref, Address: w.GetAddress(), Labels: w.GetLabels(), Ports: w.GetPorts(),
			State: w.GetState(), Revision: o.GetMetadata().GetRevision(), Leased: w.GetLease() != nil,
		}
		if id, err := spiffe.New(s.Settings.TrustDomain, ref.Namespace, w.GetAccount()); err == nil {
			m.Account = id
		}
		s.Workloads[ref] = m
	}
}

func (s *Snapshot) addServices(objects []*configv1.Object) {
	byNamespace := map[string][]*Workload{}
	for _, w := range s.Workloads {
		byNamespace[w.Ref.Namespace] = append(byNamespace[w.Ref.Namespace], w)
	}
	for _, ws := range byNamespace {
		slices.SortFunc(ws, func(a, b *Workload) int { return a.Ref.Compare(b.Ref) })
	}
	for _, o := range objects {
		if o.GetService() != nil {
			svc := newService(o, s.Settings.Domain, byNamespace[o.GetMetadata().GetNamespace()])
			s.Services = append(s.Services, svc)
			s.byHost[svc.Host] = svc
		}
	}
	slices.SortFunc(s.Services, func(a, b *Service) int { return cmp.Compare(a.Host, b.Host) })
}

func newService(o *configv1.Object, domain string, near []*Workload) *Service {
	spec, ref := o.GetService(), RefOf(o)
	svc := &Service{
		Ref: ref, Host: HostName(ref.Name, ref.Namespace, domain), Selector: LabelsOf(spec.GetSelector()),
		Address: spec.GetAddress(), Headless: spec.GetHeadless(), Ingress: spec.GetIngress(), ExternalHosts: spec.GetExternalHosts(),
		Members: spec.GetAccounts(),
	}
	for _, p := range spec.GetPorts() {
		svc.Ports = append(svc.Ports, Port{p.GetName(), p.GetNumber(), p.GetProtocol()})
	}
	var version strings.Builder
	version.WriteString(strconv.FormatUint(o.GetMetadata().GetRevision(), 10))
	accounts := map[string]bool{}
	for _, w := range near {
		if !svc.Selects(w) {
			continue
		}
		svc.Workloads = append(svc.Workloads, w)
		version.WriteString("," + w.Ref.Name + "@" + strconv.FormatUint(w.Revision, 10))
		if id := w.Account.String(); id != "" && !accounts[id] {
			accounts[id] = true
			svc.Accounts = append(svc.Accounts, id)
		}
	}
	slices.Sort(svc.Accounts)
	svc.Version = version.String()
	return svc
}
