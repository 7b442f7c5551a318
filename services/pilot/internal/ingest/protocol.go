package ingest

import (
	"cmp"
	"fmt"
	"slices"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// A workload's proxy takes connections to a port in one way: as requests, to which rules
// and routes apply, or as bytes, to which they do not; and it hands requests on in one
// version of HTTP. Two services that have a workload in common and say different things of
// a port would switch rules off, or on, or break each other, by their names' order.

// linkProtocols refuses a service that contradicts another about a port.
func (c *checker) linkProtocols(o *configv1.Object, s *configv1.Service, say report) {
	self := model.RefOf(o)
	var mine []*configv1.Workload
	for _, w := range c.index.near[self.Namespace] {
		if stands(s, w) {
			mine = append(mine, w)
		}
	}
	for _, ref := range c.index.within[self.Namespace] {
		other := c.next[ref].GetService()
		if ref == self || !disagree(s, other) {
			continue
		}
		for _, w := range mine {
			if !stands(other, w) {
				continue
			}
			if i, number, ok := contradiction(s, other, w); ok {
				say(fmt.Sprintf("spec.ports[%d].protocol", i), "is %s, and %s says otherwise of port %d of the workloads that both have: "+
					"a proxy takes a port in one way only; say the same in both", spoken(s.GetPorts()[i]), ref, number)
				break
			}
		}
	}
}

// linkPorts refuses a workload with two services that contradict each other about a port.
func (c *checker) linkPorts(o *configv1.Object, say report) {
	w, ns := o.GetWorkload(), o.GetMetadata().GetNamespace()
	var mine []model.Ref
	for _, ref := range c.index.within[ns] {
		if stands(c.next[ref].GetService(), w) {
			mine = append(mine, ref)
		}
	}
	for i, ref := range mine {
		s := c.next[ref].GetService()
		for _, at := range mine[i+1:] {
			if _, number, ok := contradiction(s, c.next[at].GetService(), w); ok {
				say("spec.labels", "joins %s and %s, which disagree about port %d: let them say the same, or leave one of them", ref, at, number)
			}
		}
	}
}

// disagree tells whether two services have ports that are taken in different ways: others
// have nothing to contradict.
func disagree(a, b *configv1.Service) bool {
	return slices.ContainsFunc(a.GetPorts(), func(p *configv1.Port) bool {
		return slices.ContainsFunc(b.GetPorts(), func(q *configv1.Port) bool { return way(p) != way(q) })
	})
}

// way is how a proxy takes a port: of the protocols that it takes alike, one.
func way(p *configv1.Port) configv1.Protocol {
	switch p.GetProtocol() {
	case configv1.Protocol_HTTP:
		return configv1.Protocol_HTTP
	case configv1.Protocol_HTTP2, configv1.Protocol_GRPC:
		return configv1.Protocol_HTTP2
	}
	return configv1.Protocol_TCP
}

// stands tells whether a service stands for a workload.
func stands(s *configv1.Service, w *configv1.Workload) bool {
	return selects(s, w) && (len(s.GetAccounts()) == 0 || slices.Contains(s.GetAccounts(), w.GetAccount()))
}

// contradiction finds the port of s that leads to the same port of w as one of other's, which
// is taken in another way.
func contradiction(s, other *configv1.Service, w *configv1.Workload) (port int, number uint32, ok bool) {
	for i, p := range s.GetPorts() {
		for _, q := range other.GetPorts() {
			if number := targetOf(p, w); way(p) != way(q) && number == targetOf(q, w) {
				return i, number, true
			}
		}
	}
	return 0, 0, false
}

// targetOf is where w listens for a service's port.
func targetOf(p *configv1.Port, w *configv1.Workload) uint32 {
	return cmp.Or(w.GetPorts()[p.GetName()], p.GetNumber())
}

// spoken is the protocol of a port, as what it acts as.
func spoken(p *configv1.Port) configv1.Protocol {
	return cmp.Or(p.GetProtocol(), configv1.Protocol_TCP)
}
