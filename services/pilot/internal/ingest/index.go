package ingest

import (
	"cmp"
	"fmt"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// index answers questions about the whole world as it would be without looking at all
// of it each time.
type index struct {
	services  map[string][]model.Ref // by virtual address
	ways      map[string][]model.Ref // services by host and path at the ingress
	workloads map[string][]model.Ref // by address
	near      map[string][]*configv1.Workload
	within    map[string][]model.Ref // services by namespace
	open      map[string][]model.Ref // services that name no accounts and stay as they are
	external  map[string][]model.Ref // services by host name outside of the mesh
	metrics   map[string]metric      // who exports a name first
	routes    map[string][]*model.Route
}

// lookup makes the index.
func (c *checker) lookup() {
	c.index = index{
		services: map[string][]model.Ref{}, ways: map[string][]model.Ref{}, workloads: map[string][]model.Ref{},
		near: map[string][]*configv1.Workload{}, within: map[string][]model.Ref{}, open: map[string][]model.Ref{}, external: map[string][]model.Ref{},
		metrics: c.exporters(),
	}
	var rules []*configv1.Object
	for _, ref := range sortedRefs(c.next) {
		if c.next[ref].GetRouteRule() != nil {
			rules = append(rules, c.next[ref])
		}
		if s := c.next[ref].GetService(); s != nil {
			c.index.within[ref.Namespace] = append(c.index.within[ref.Namespace], ref)
			if a := cmp.Or(s.GetAddress(), c.view[ref].Address); a != "" {
				c.index.services[a] = append(c.index.services[a], ref)
			}
			for _, h := range s.GetExternalHosts() {
				c.index.external[h] = append(c.index.external[h], ref)
			}
			if _, written := c.incoming[ref]; !written && len(s.GetAccounts()) == 0 {
				c.index.open[ref.Namespace] = append(c.index.open[ref.Namespace], ref)
			}
			for way := range ways(s) {
				c.index.ways[way] = append(c.index.ways[way], ref)
			}
		}
		if w := c.next[ref].GetWorkload(); w != nil {
			c.index.workloads[w.GetAddress()] = append(c.index.workloads[w.GetAddress()], ref)
			c.index.near[ref.Namespace] = append(c.index.near[ref.Namespace], w)
		}
	}
	c.index.routes = model.RoutesByHost(rules, c.settings.Domain)
}

// another returns the first of refs that is not self.
func another(refs []model.Ref, self model.Ref) (_ model.Ref, ok bool) {
	for _, ref := range refs {
		if ref != self {
			return ref, true
		}
	}
	return model.Ref{}, false
}

// ways lists the hosts and paths at the ingress, each with its field.
func ways(s *configv1.Service) map[string]string {
	out := map[string]string{}
	for i, r := range s.GetIngress() {
		hosts, paths := r.GetHosts(), []string{"prefix /"}
		if len(hosts) == 0 {
			hosts = []string{"*"}
		}
		if len(r.GetPaths()) > 0 {
			paths = nil
		}
		for _, p := range r.GetPaths() {
			how := "exact "
			if _, ok := p.GetMatch().(*configv1.StringMatch_Prefix); ok {
				how = "prefix "
			}
			paths = append(paths, how+p.GetExact()+p.GetPrefix())
		}
		for _, h := range hosts {
			for _, p := range paths {
				out["host "+h+", "+p] = fmt.Sprintf("spec.ingress[%d]", i)
			}
		}
	}
	return out
}
