package translate

import (
	"fmt"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// outbound adds what a sidecar needs for the calls of its application.
func (s *Set) outbound(p Proxy, w *Wants) {
	s.addBlackhole(w)
	c := s.callerOf(p)
	var ports []uint32
	for _, svc := range s.Snapshot.Services {
		s.addClusters(w, svc)
		for _, port := range svc.Ports {
			switch {
			case !port.HTTP():
				s.tcpListener(w, svc, port)
			case !slices.Contains(ports, port.Number):
				ports = append(ports, port.Number)
			}
		}
	}
	for _, number := range ports {
		s.httpListener(w, p, s.routeTable(w, c, number), number)
	}
	w.add(Listener, s.get(Listener, "outbound", "", func() (proto.Message, []model.Ref) {
		return &listenerv3.Listener{
			Name: "outbound", Address: address("0.0.0.0", OutboundPort), UseOriginalDst: wrapperspb.Bool(true),
			TrafficDirection: corev3.TrafficDirection_OUTBOUND,
			FilterChains:     []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{tcpProxy("blackhole", blackhole)}}},
		}, nil
	}))
}

// httpListener takes connections to a port number on which some service speaks HTTP,
// whatever their address: requests are told apart by their host.
func (s *Set) httpListener(w *Wants, p Proxy, table string, number uint32) {
	name := fmt.Sprintf("0.0.0.0_%d", number)
	w.add(Listener, s.view(Listener, name, table+p.traceName(), "", func() (proto.Message, []model.Ref) {
		return &listenerv3.Listener{
			Name: name, Address: address("0.0.0.0", number), BindToPort: wrapperspb.Bool(false),
			TrafficDirection: corev3.TrafficDirection_OUTBOUND,
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{
				s.httpManager(manager{stat: "outbound", table: table, trace: p.traceName(), faults: true}),
			}}},
		}, nil
	}))
}

// tcpListener takes connections to a service's virtual address. A headless service has
// none: its workloads' own addresses are taken, each by a listener of its own that leads
// to that workload.
func (s *Set) tcpListener(w *Wants, svc *model.Service, port model.Port) {
	cluster := clusterName(port.Number, "", svc.Host)
	var addresses []string
	if svc.Address != "" {
		addresses = []string{svc.Address}
	}
	if svc.Headless {
		addresses = ownAddresses(svc)
	}
	for _, a := range addresses {
		name := fmt.Sprintf("%s_%d", a, port.Number)
		w.add(Listener, s.get(Listener, name, cluster+strconv.FormatBool(svc.Headless), func() (proto.Message, []model.Ref) {
			proxy := &tcpv3.TcpProxy{StatPrefix: cluster, ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster}}
			if svc.Headless {
				proxy.MetadataMatch = onlyAt(a)
			}
			return &listenerv3.Listener{
				Name: name, Address: address(a, port.Number), BindToPort: wrapperspb.Bool(false),
				TrafficDirection: corev3.TrafficDirection_OUTBOUND,
				FilterChains:     []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{tcpFilter(proxy)}}},
			}, []model.Ref{svc.Ref}
		}))
	}
}
