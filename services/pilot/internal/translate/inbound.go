package translate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	originalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// served is one port that a workload serves.
type served struct {
	number   uint32
	port     model.Port
	services []*model.Service
}

// servedBy lists the ports of a workload with the services behind each. The protocol of
// the first service counts, but services that speak HTTP come before all others: one of
// another protocol must not switch off the rules about their requests.
func (s *Set) servedBy(w *model.Workload) []served {
	var out []served
	for _, svc := range s.Snapshot.ServicesOf(w) {
		for _, p := range svc.Ports {
			n := w.TargetPort(p)
			i := slices.IndexFunc(out, func(x served) bool { return x.number == n })
			switch {
			case i < 0:
				out = append(out, served{number: n, port: p, services: []*model.Service{svc}})
			case p.HTTP() && !out[i].port.HTTP():
				out[i] = served{number: n, port: p, services: []*model.Service{svc}}
			case p.HTTP() == out[i].port.HTTP():
				out[i].services = append(out[i].services, svc)
			}
		}
	}
	slices.SortFunc(out, func(a, b served) int { return int(a.number) - int(b.number) })
	return out
}

// inbound adds what a sidecar needs for the calls to its application. Connections to a
// port that no service declares are closed.
func (s *Set) inbound(p Proxy, w *Wants) {
	ports := s.servedBy(p.Workload)
	var print strings.Builder
	view := p.Workload.Ref.Namespace + "|" + string(model.LabelsOf(p.Workload.Labels)) + "|" + p.traceName()
	var sources []model.Ref
	for _, sv := range ports {
		s.localCluster(w, sv.number, sv.port.HTTP2(), sv.port.HTTP())
		fmt.Fprint(&print, sv.number, sv.port.HTTP(), sv.port.HTTP2(), ";")
		if sv.port.HTTP() {
			s.inboundTable(w, p, sv)
		}
		for _, svc := range sv.services {
			sources = append(sources, svc.Ref)
			print.WriteString(svc.Ref.String())
		}
	}
	w.add(Listener, s.view(Listener, "inbound", view, print.String(), func() (proto.Message, []model.Ref) {
		return s.inboundListener(p, ports), sources
	}))
}

// inspectTime is how long a connection may send nothing before it is taken for one of a
// protocol in which the server speaks first. Clients that speak first do it at once.
const inspectTime = 500 * time.Millisecond

func (s *Set) inboundListener(p Proxy, ports []served) *listenerv3.Listener {
	l := &listenerv3.Listener{
		Name: "inbound", Address: address("0.0.0.0", InboundPort),
		TrafficDirection: corev3.TrafficDirection_INBOUND,
		ListenerFilters: []*listenerv3.ListenerFilter{{
			Name:       "envoy.filters.listener.original_dst",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&originalv3.OriginalDst{})},
		}, {
			Name:       "envoy.filters.listener.tls_inspector",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&inspectorv3.TlsInspector{})},
		}},
		ListenerFiltersTimeout:           durationpb.New(inspectTime),
		ContinueOnListenerFiltersTimeout: true,
		DefaultFilterChain: &listenerv3.FilterChain{
			Name: "undeclared", Filters: []*listenerv3.Filter{tcpProxy("undeclared", blackhole)},
		},
	}
	for _, sv := range ports {
		filter := tcpProxy(fmt.Sprintf("inbound_%d", sv.number), fmt.Sprintf("inbound|%d", sv.number))
		if sv.port.HTTP() {
			filter = s.httpManager(manager{
				stat: fmt.Sprintf("inbound_%d", sv.number), table: inboundName(p, sv.number), trace: p.traceName(),
				policy: s.mesh.Policy, identity: true,
			})
		}
		// mTLS for those that have an identity, plain text for those that have not, until
		// a service says strict.
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{
			Name:             fmt.Sprintf("%d-mtls", sv.number),
			FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(sv.number), TransportProtocol: "tls"},
			TransportSocket:  serverTLS(s.Snapshot.Settings.TrustDomain),
			Filters:          []*listenerv3.Filter{filter},
		}, &listenerv3.FilterChain{
			Name:             fmt.Sprintf("%d-plain", sv.number),
			FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(sv.number), TransportProtocol: "raw_buffer"},
			Filters:          []*listenerv3.Filter{filter},
		})
	}
	return l
}

// inboundName names the route table of an inbound port: one for all workloads that
// policy cannot tell apart.
func inboundName(p Proxy, number uint32) string {
	return fmt.Sprintf("inbound|%d@%s@%s", number, p.Workload.Ref.Namespace, hash(string(model.LabelsOf(p.Workload.Labels))))
}

func (s *Set) inboundTable(w *Wants, p Proxy, sv served) {
	known := map[string]any{
		"destination.namespace": p.Workload.Ref.Namespace,
		"destination.labels":    p.Workload.Labels,
		"context.protocol":      "http",
	}
	service := ""
	if len(sv.services) == 1 {
		service = sv.services[0].Host
		known["destination.service"] = service
	}
	c := s.concernOf(p.Workload.Ref.Namespace, known)
	name := inboundName(p, sv.number)
	print := c.print() + service + strconv.FormatBool(sv.port.HTTP2())
	w.add(Route, s.get(Route, name, print, func() (proto.Message, []model.Ref) {
		r := &routev3.Route{
			Name:  service,
			Match: anyPath(),
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				// The caller's proxy has the say on time.
				Timeout:          durationpb.New(0),
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: fmt.Sprintf("inbound|%d", sv.number)},
			}},
		}
		c.apply(r, service)
		return &routev3.RouteConfiguration{
			Name: name, ValidateClusters: wrapperspb.Bool(false),
			VirtualHosts: []*routev3.VirtualHost{{Name: "inbound", Domains: []string{"*"}, Routes: []*routev3.Route{r}}},
		}, c.sources
	}))
}
