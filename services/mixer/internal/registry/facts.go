package registry

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// facts of the attributes under one prefix.
var factNames = [...]string{"labels", "name", "namespace", "service", "serviceAccount", "uid", "domain"}

// Source returns the source.* facts of a peer: of the workload that has the address if
// its account is the one in the peer's certificate, else of the certificate alone. user
// is the URI in the certificate, "" without one. What the registry knows better, or
// knows to be somebody else's, hides what was sent (a nil value); a peer about whom it
// knows nothing keeps what was sent. A workload that no service stands for, as a
// gateway is, has its account for a service, unless that is the name of one.
// The map is shared and must not be changed.
func (s *Snapshot) Source(address netip.Addr, user string) map[string]any {
	out := map[string]any{}
	id, err := spiffe.Parse(user)
	if err == nil && id.TrustDomain() == s.domain {
		if w, ok := s.Peer(address, id); ok {
			return w.asSource.of(func() map[string]any { return s.caller(w) })
		}
		hide(out)
		out["source.namespace"], out["source.serviceAccount"] = id.Namespace(), id.Account()
		return out
	}
	if user != "" || s.Known(address) {
		hide(out)
	}
	return out
}

func (s *Snapshot) caller(w *Workload) map[string]any {
	out := s.facts(w, "source.")
	if host := s.host(w.Account, w.Namespace); len(w.Services) == 0 && s.services[host] == nil {
		out["source.service"] = host
	}
	return out
}

func hide(out map[string]any) {
	for _, f := range factNames {
		out["source."+f] = nil
	}
}

// Destination returns the destination.* facts of a workload whose identity was
// verified. service is what the proxy says was asked for; it counts if the workload is
// behind it, else the first of the workload's services does. The map is shared and must
// not be changed.
func (s *Snapshot) Destination(w *Workload, service string) map[string]any {
	out := w.asDestination.of(func() map[string]any { return s.facts(w, "destination.") })
	if out["destination.service"] != service && slices.Contains(w.Services, service) {
		out = maps.Clone(out)
		out["destination.service"] = service
	}
	return out
}

// known are the facts about a workload on one side, made when first asked for.
type known struct {
	once   sync.Once
	values map[string]any
}

func (k *known) of(find func() map[string]any) map[string]any {
	k.once.Do(func() { k.values = find() })
	return k.values
}

func (s *Snapshot) facts(w *Workload, prefix string) map[string]any {
	out := map[string]any{
		prefix + "labels": w.Labels, prefix + "name": w.Name, prefix + "namespace": w.Namespace,
		prefix + "uid": "outrigger://" + w.Name + "." + w.Namespace, prefix + "service": nil,
		prefix + "serviceAccount": nil, prefix + "domain": s.domain,
	}
	if w.Account != "" {
		out[prefix+"serviceAccount"] = w.Account
	}
	if len(w.Services) > 0 {
		out[prefix+"service"] = w.Services[0]
	}
	return out
}
