package translate

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// clusterName is outbound|<port>|<labels>|<host>.
func clusterName(port uint32, labels model.Labels, host string) string {
	return "outbound|" + strconv.FormatUint(uint64(port), 10) + "|" + string(labels) + "|" + host
}

// addCluster adds the cluster of one subset of a port, with its endpoints.
func (s *Set) addCluster(w *Wants, svc *model.Service, p model.Port, labels model.Labels) {
	name := clusterName(p.Number, labels, svc.Host)
	sources := []model.Ref{svc.Ref}
	w.add(Cluster, s.get(Cluster, name, svc.Version, func() (proto.Message, []model.Ref) {
		return s.outboundCluster(name, svc, p, labels), sources
	}))
	w.add(Endpoint, s.get(Endpoint, name, svc.Version, func() (proto.Message, []model.Ref) {
		return assignment(name, svc, p, labels), append(sources, written(svc, labels)...)
	}))
}

// addClusters adds the clusters of every port of svc and of every subset that a rule
// routes to.
func (s *Set) addClusters(w *Wants, svc *model.Service) {
	for _, p := range svc.Ports {
		s.addCluster(w, svc, p, "")
		if !p.HTTP() {
			continue
		}
		for _, labels := range s.Snapshot.Subsets(svc.Host) {
			s.addCluster(w, svc, p, labels)
		}
	}
}

func (s *Set) outboundCluster(name string, svc *model.Service, p model.Port, labels model.Labels) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(s.mesh.ConnectTimeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: name},
		// Enough for a mesh; a DestinationPolicy will narrow it.
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: wrapperspb.UInt32(1 << 20), MaxPendingRequests: wrapperspb.UInt32(1 << 16),
			MaxRequests: wrapperspb.UInt32(1 << 20), MaxRetries: wrapperspb.UInt32(1 << 10),
		}}},
		// An endpoint that is gone from the registry is gone, whatever its health was.
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			HealthyPanicThreshold: percent(0),
		},
		TransportSocketMatches: transportSockets(svc.Accounts),
	}
	if chosen(svc, labels) {
		c.LbSubsetConfig = byAddress(p.HTTP())
	}
	if p.HTTP() {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(httpOptions(p.HTTP2())),
		}
	}
	return c
}

// httpOptions closes idle upstream connections before the applications do: most close
// theirs after minutes.
func httpOptions(http2 bool) *httpv3.HttpProtocolOptions {
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		},
	}
	if http2 {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		}
	}
	return &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(time.Minute)},
		UpstreamProtocolOptions:   &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	}
}

// written are the workloads of a subset that somebody wrote. Those that register
// themselves come and go without anybody waiting for it; to note for every proxy which
// of them it knows would cost memory.
func written(svc *model.Service, labels model.Labels) []model.Ref {
	var out []model.Ref
	for _, w := range svc.Workloads {
		if !w.Leased && labels.SubsetOf(w.Labels) {
			out = append(out, w.Ref)
		}
	}
	return out
}

// assignment lists the workloads of a subset, those that finish what they have as
// draining.
func assignment(name string, svc *model.Service, p model.Port, labels model.Labels) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	var lbs []*endpointv3.LbEndpoint
	for _, w := range svc.Workloads {
		if w.State == configv1.Workload_NOT_READY || !labels.SubsetOf(w.Labels) {
			continue
		}
		e := &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(w.Address, w.TargetPort(p))}},
			Metadata:       endpointMetadata(w, chosen(svc, labels)),
		}
		if w.State == configv1.Workload_DRAINING {
			e.HealthStatus = corev3.HealthStatus_DRAINING
		}
		lbs = append(lbs, e)
	}
	if lbs != nil {
		a.Endpoints = []*endpointv3.LocalityLbEndpoints{{LbEndpoints: lbs}}
	}
	return a
}

// The load balancer's part of an endpoint's metadata, and the key there that tells the
// workloads of a headless service apart: who calls one by its address means that one.
const balancer, addressKey = "envoy.lb", "address"

// chosen reports whether callers may choose among the workloads of a subset. Those of a
// rule's subset are chosen among by the rule.
func chosen(svc *model.Service, labels model.Labels) bool { return svc.Headless && labels == "" }

// byAddress takes for who names an address the workload there or none. Of requests that
// name none, which have come by the service's name, any workload takes one if anyone is
// true; connections always name one.
func byAddress(anyone bool) *clusterv3.Cluster_LbSubsetConfig {
	c := &clusterv3.Cluster_LbSubsetConfig{
		FallbackPolicy: clusterv3.Cluster_LbSubsetConfig_NO_FALLBACK,
		SubsetSelectors: []*clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector{{
			Keys: []string{addressKey}, FallbackPolicy: clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_NO_FALLBACK,
		}},
	}
	if anyone {
		c.FallbackPolicy = clusterv3.Cluster_LbSubsetConfig_ANY_ENDPOINT
	}
	return c
}

// ownAddresses are those of a service's workloads, in order, each once.
func ownAddresses(svc *model.Service) []string {
	var out []string
	for _, w := range svc.Workloads {
		out = append(out, w.Address)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// onlyAt means the endpoint with an address.
func onlyAt(address string) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{balancer: addressOnly(address)}}
}

func addressOnly(address string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{addressKey: structpb.NewStringValue(address)}}
}

// endpointMetadata says whether to speak mTLS to w (see transportSockets), and, where
// callers choose, by which address it is called.
func endpointMetadata(w *model.Workload, chosen bool) *corev3.Metadata {
	parts := map[string]*structpb.Struct{}
	if !w.Account.IsZero() {
		parts["envoy.transport_socket_match"] = &structpb.Struct{
			Fields: map[string]*structpb.Value{meshKey: structpb.NewStringValue(meshValue)},
		}
	}
	if chosen {
		parts[balancer] = addressOnly(w.Address)
	}
	if len(parts) == 0 {
		return nil
	}
	return &corev3.Metadata{FilterMetadata: parts}
}

// localCluster is the application behind a sidecar. It is bound to loopback, so that it
// is reached whatever interface the application listens on.
func (s *Set) localCluster(w *Wants, port uint32, http2, http bool) string {
	name := fmt.Sprintf("inbound|%d", port)
	print := fmt.Sprint(http2, http)
	w.add(Cluster, s.get(Cluster, name, print, func() (proto.Message, []model.Ref) {
		c := &clusterv3.Cluster{
			Name:                 name,
			ConnectTimeout:       durationpb.New(s.mesh.ConnectTimeout),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			LoadAssignment: &endpointv3.ClusterLoadAssignment{
				ClusterName: name,
				Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address("127.0.0.1", port)}},
				}}}},
			},
			CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
				MaxConnections: wrapperspb.UInt32(1 << 20), MaxPendingRequests: wrapperspb.UInt32(1 << 16),
				MaxRequests: wrapperspb.UInt32(1 << 20), MaxRetries: wrapperspb.UInt32(1 << 10),
			}}},
		}
		if http {
			c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
				"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(httpOptions(http2)),
			}
		}
		return c, nil
	}))
	return name
}

// blackhole is where connections end that nobody serves: it has no endpoint.
const blackhole = "blackhole"

func (s *Set) addBlackhole(w *Wants) {
	w.add(Cluster, s.get(Cluster, blackhole, "", func() (proto.Message, []model.Ref) {
		return &clusterv3.Cluster{
			Name:                 blackhole,
			ConnectTimeout:       durationpb.New(s.mesh.ConnectTimeout),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			LoadAssignment:       &endpointv3.ClusterLoadAssignment{ClusterName: blackhole},
		}, nil
	}))
}
