package translate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// ingress adds what the gateway for traffic from outside needs: the services that say
// what of them is to be seen there.
func (s *Set) ingress(p Proxy, w *Wants) {
	s.addBlackhole(w)
	for _, svc := range s.Snapshot.Services {
		if len(svc.Ingress) == 0 {
			continue
		}
		s.addClusters(w, svc)
		for _, r := range s.Snapshot.Routes(svc.Host) {
			for _, t := range r.Targets {
				if other := s.Snapshot.Service(t.Host); other != nil && t.Host != svc.Host {
					s.addClusters(w, other)
				}
			}
		}
	}
	name := "ingress|" + strconv.FormatUint(uint64(p.ListenPort), 10)
	w.add(Route, s.get(Route, name, s.ingressPrint(), func() (proto.Message, []model.Ref) {
		return s.ingressTable(name, s.callerOf(p))
	}))
	s.gatewayListener(w, p, name)
}

func (s *Set) ingressPrint() string {
	var b strings.Builder
	for _, svc := range s.Snapshot.Services {
		if len(svc.Ingress) == 0 {
			continue
		}
		b.WriteString(svc.Version + ";")
		for _, r := range s.Snapshot.Routes(svc.Host) {
			b.WriteString(r.Ref.String() + strconv.FormatUint(r.Revision, 10) + ",")
		}
	}
	return b.String()
}

func (s *Set) gatewayListener(w *Wants, p Proxy, table string) {
	name := string(p.Role)
	print := fmt.Sprint(p.ListenAddress, p.ListenPort, p.traceName())
	w.add(Listener, s.view(Listener, name, print, "", func() (proto.Message, []model.Ref) {
		return &listenerv3.Listener{
			Name: name, Address: address(p.ListenAddress, p.ListenPort),
			TrafficDirection: corev3.TrafficDirection_OUTBOUND,
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{s.httpManager(manager{
				stat: name, table: table, trace: p.traceName(), faults: true, edge: p.Role == Ingress,
			})}}},
		}, nil
	}))
}

// exposed is one path of a service at the ingress.
type exposed struct {
	svc  *model.Service
	port model.Port
	path *configv1.StringMatch
}

func (s *Set) ingressTable(name string, c caller) (proto.Message, []model.Ref) {
	rc := &routev3.RouteConfiguration{Name: name, IgnorePortInHostMatching: true, ValidateClusters: wrapperspb.Bool(false)}
	byHost := map[string][]exposed{}
	var sources []model.Ref
	for _, svc := range s.Snapshot.Services {
		for _, in := range svc.Ingress {
			for _, host := range hostsOf(in) {
				byHost[host] = append(byHost[host], exposedBy(svc, in)...)
			}
		}
		if len(svc.Ingress) > 0 {
			sources = append(sources, svc.Ref)
		}
	}
	for _, host := range slices.Sorted(maps.Keys(byHost)) {
		vh := &routev3.VirtualHost{Name: host, Domains: []string{host}}
		paths := byHost[host]
		slices.SortStableFunc(paths, byPath)
		for _, e := range paths {
			for _, r := range s.rules(c, e.svc.Host) {
				vh.Routes = append(vh.Routes, s.route(r, e.port, basePath(e.path)))
				if r.Ref.Kind != "" && !slices.Contains(sources, r.Ref) {
					sources = append(sources, r.Ref)
				}
			}
		}
		rc.VirtualHosts = append(rc.VirtualHosts, vh)
	}
	return rc, sources
}

func hostsOf(in *configv1.IngressRoute) []string {
	if len(in.GetHosts()) == 0 {
		return []string{"*"}
	}
	return in.GetHosts()
}

// exposedBy lists the paths of one entry; without any it is every path.
func exposedBy(svc *model.Service, in *configv1.IngressRoute) []exposed {
	i := slices.IndexFunc(svc.Ports, func(p model.Port) bool {
		return p.HTTP() && (in.GetPort() == "" || p.Name == in.GetPort())
	})
	if i < 0 {
		return nil
	}
	if len(in.GetPaths()) == 0 {
		return []exposed{{svc, svc.Ports[i], &configv1.StringMatch{Match: &configv1.StringMatch_Prefix{Prefix: "/"}}}}
	}
	var out []exposed
	for _, p := range in.GetPaths() {
		out = append(out, exposed{svc, svc.Ports[i], p})
	}
	return out
}

// byPath puts exact paths first, then longer prefixes before shorter ones.
func byPath(a, b exposed) int {
	ea, eb := a.path.GetExact() != "", b.path.GetExact() != ""
	if ea != eb {
		if ea {
			return -1
		}
		return 1
	}
	return cmp.Compare(len(b.path.GetPrefix()), len(a.path.GetPrefix()))
}

func basePath(p *configv1.StringMatch) *routev3.RouteMatch {
	m := &routev3.RouteMatch{}
	setPath(m, p)
	return m
}

// egress adds what the gateway for traffic to the outside needs: the services that have
// host names there.
func (s *Set) egress(p Proxy, w *Wants) {
	s.addBlackhole(w)
	var print strings.Builder
	for _, svc := range s.Snapshot.Services {
		if len(svc.ExternalHosts) > 0 {
			s.addClusters(w, svc)
			print.WriteString(svc.Version + ";")
		}
	}
	name := "egress|" + strconv.FormatUint(uint64(p.ListenPort), 10)
	w.add(Route, s.get(Route, name, print.String(), func() (proto.Message, []model.Ref) { return s.egressTable(name) }))
	s.gatewayListener(w, p, name)
}

func (s *Set) egressTable(name string) (proto.Message, []model.Ref) {
	rc := &routev3.RouteConfiguration{Name: name, IgnorePortInHostMatching: true, ValidateClusters: wrapperspb.Bool(false)}
	var sources []model.Ref
	taken := map[string]bool{}
	for _, svc := range s.Snapshot.Services {
		i := slices.IndexFunc(svc.Ports, model.Port.HTTP)
		hosts := unclaimed(taken, svc.ExternalHosts)
		if len(hosts) == 0 || i < 0 {
			continue
		}
		direct := &model.Route{Host: svc.Host, Targets: []model.Target{{Host: svc.Host, Weight: 100}}}
		rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{
			Name: svc.Host, Domains: hosts,
			Routes: []*routev3.Route{s.route(direct, svc.Ports[i], anyPath())},
		})
		sources = append(sources, svc.Ref)
	}
	return rc, sources
}
