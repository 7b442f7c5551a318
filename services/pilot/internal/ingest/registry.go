package ingest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

const maxPort = 65535

// proxyPorts are where sidecars take connections in and out and answer their agent. A
// service with one of them would have two listeners by one address.
var proxyPorts = []uint32{15001, 15006, 15090}

// service checks one Service by itself.
func service(s *configv1.Service, addresses netip.Prefix, say report) {
	if len(s.GetPorts()) == 0 {
		say("spec.ports", "missing: a service has at least one port")
	}
	byName, byNumber := map[string]int{}, map[uint32]int{}
	for i, p := range s.GetPorts() {
		field := fmt.Sprintf("spec.ports[%d]", i)
		if !isLabel(p.GetName()) {
			say(field+".name", "%q: want one DNS label", p.GetName())
		}
		switch {
		case p.GetNumber() < 1 || p.GetNumber() > maxPort:
			say(field+".number", "%d: want 1 to %d", p.GetNumber(), maxPort)
		case slices.Contains(proxyPorts, p.GetNumber()):
			say(field+".number", "%d is a port of every sidecar itself", p.GetNumber())
		}
		if first, twice := byName[p.GetName()]; twice {
			say(field+".name", "%q is the name of spec.ports[%d] already", p.GetName(), first)
		}
		if first, twice := byNumber[p.GetNumber()]; twice {
			say(field+".number", "%d is the number of spec.ports[%d] already", p.GetNumber(), first)
		}
		byName[p.GetName()], byNumber[p.GetNumber()] = i, i
	}
	labels(s.GetSelector(), "spec.selector", say)
	virtualAddress(s, addresses, say)
	for i, a := range s.GetAccounts() {
		if !isDomain(a) {
			say(fmt.Sprintf("spec.accounts[%d]", i), "%q: want the name of a service account", a)
		}
	}
	for i, r := range s.GetIngress() {
		ingressRoute(s, r, fmt.Sprintf("spec.ingress[%d]", i), say)
	}
	externalHosts(s, say)
}

// externalHosts checks the names that egress is to carry.
func externalHosts(s *configv1.Service, say report) {
	if len(s.GetExternalHosts()) > 0 && !slices.ContainsFunc(s.GetPorts(), isHTTP) {
		say("spec.externalHosts", "without an HTTP port in spec.ports: "+notYet+"; egress carries plain HTTP")
	}
	for i, h := range s.GetExternalHosts() {
		if !isDomain(h) || !strings.Contains(h, ".") {
			say(fmt.Sprintf("spec.externalHosts[%d]", i), "%q: want a full host name in lower case", h)
		}
	}
}

func virtualAddress(s *configv1.Service, addresses netip.Prefix, say report) {
	if s.GetAddress() == "" {
		return
	}
	a, err := netip.ParseAddr(s.GetAddress())
	switch {
	case s.GetHeadless():
		say("spec.address", "a headless service has no address of its own")
	case err != nil || !a.Is4():
		say("spec.address", "%q: want an IPv4 address", s.GetAddress())
	case !usable(a):
		say("spec.address", "%s cannot be the address of a service", a)
	case addresses.IsValid() && !addresses.Contains(a):
		say("spec.address", "%s is not in %s, the range of this mesh; leave it out and one is chosen", a, addresses)
	}
}

func usable(a netip.Addr) bool {
	return a.Zone() == "" && !a.IsLoopback() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// isHTTP tells whether requests on a port are routed one by one.
func isHTTP(p *configv1.Port) bool {
	switch p.GetProtocol() {
	case configv1.Protocol_HTTP, configv1.Protocol_HTTP2, configv1.Protocol_GRPC:
		return true
	}
	return false
}

// ingressRoute checks one way in.
func ingressRoute(s *configv1.Service, r *configv1.IngressRoute, field string, say report) {
	for i, h := range r.GetHosts() {
		if h != "*" && !isDomain(strings.TrimPrefix(h, "*.")) {
			say(fmt.Sprintf("%s.hosts[%d]", field, i), `%q: want a host name in lower case without port, "*" or "*.suffix"`, h)
		}
	}
	for i, p := range r.GetPaths() {
		at := fmt.Sprintf("%s.paths[%d]", field, i)
		if _, ok := p.GetMatch().(*configv1.StringMatch_Regex); ok {
			say(at+".regex", notYet+": paths at ingress are exact or prefix")
			continue
		}
		stringMatch(p, at, true, say)
		if text := p.GetExact() + p.GetPrefix(); text != "" && !strings.HasPrefix(text, "/") {
			say(at, "%q: a path begins with /", text)
		}
	}
	web := slices.DeleteFunc(slices.Clone(s.GetPorts()), func(p *configv1.Port) bool { return !isHTTP(p) })
	named := slices.ContainsFunc(web, func(p *configv1.Port) bool { return p.GetName() == r.GetPort() })
	switch {
	case r.GetPort() == "" && len(web) != 1:
		say(field+".port", "missing: the service has %d HTTP ports, so it must be said which one", len(web))
	case r.GetPort() != "" && !named:
		say(field+".port", "%q is the name of no HTTP port of the service", r.GetPort())
	}
}

// workload checks one Workload by itself.
func workload(o *configv1.Object, say report) {
	w := o.GetWorkload()
	a, err := netip.ParseAddr(w.GetAddress())
	switch {
	case w.GetAddress() == "":
		say("spec.address", "missing")
	case err != nil:
		say("spec.address", "%q: want an IPv4 or IPv6 address", w.GetAddress())
	case !usable(a):
		say("spec.address", "%s cannot be the address of a workload", a)
	}
	labels(w.GetLabels(), "spec.labels", say)
	if w.GetAccount() != "" && !isDomain(w.GetAccount()) {
		say("spec.account", "%q: want the name of a service account", w.GetAccount())
	}
	for _, name := range slices.Sorted(maps.Keys(w.GetPorts())) {
		field := "spec.ports[" + name + "]"
		if !isLabel(name) {
			say(field, "%q: want the name of a service's port", name)
		}
		if n := w.GetPorts()[name]; n < 1 || n > maxPort {
			say(field, "%d: want 1 to %d", n, maxPort)
		}
	}
}

// written refuses in a Workload what only agents say of theirs. One that an agent
// registered may come back as it is.
func (c *checker) written(o *configv1.Object, say report) {
	if e := c.view[model.RefOf(o)]; strings.HasPrefix(e.Object.GetMetadata().GetOrigin(), "registry:") && c.unchanged(e, o) {
		return
	}
	w := o.GetWorkload()
	unsupported(w, "spec", say, "locality")
	if w.GetLease() != nil {
		say("spec.lease", "only what an agent registers has a lease, which the agent renews; leave it out: the Workload stays until it is deleted")
	}
}
