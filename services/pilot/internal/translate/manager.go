package translate

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// manager says what one HTTP connection manager does.
type manager struct {
	stat, table string
	// trace is the name of the proxy in traces, "" for no tracing.
	trace string
	// faults and policy put these filters in.
	faults, policy bool
	// edge is set where strangers call: their headers about themselves are not taken.
	edge bool
	// identity puts the verified caller's SPIFFE ID into x-forwarded-client-cert.
	identity bool
}

// maxHeaders bounds the headers of a request, in KiB.
const maxHeaders = 96

func (s *Set) httpManager(m manager) *listenerv3.Filter {
	h := &hcmv3.HttpConnectionManager{
		StatPrefix: m.stat,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: m.table, ConfigSource: ads(),
		}},
		// Go's and Java's clients ask for h2c by Upgrade now and then; it is passed on.
		UpgradeConfigs:    []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		UseRemoteAddress:  wrapperspb.Bool(m.edge),
		NormalizePath:     wrapperspb.Bool(true),
		MergeSlashes:      m.edge,
		GenerateRequestId: wrapperspb.Bool(true),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:                  durationpb.New(time.Hour),
			HeadersWithUnderscoresAction: underscores(m.edge),
		},
		MaxRequestHeadersKb: wrapperspb.UInt32(maxHeaders),
		StreamIdleTimeout:   durationpb.New(5 * time.Minute),
		// Requests under way at a change of a listener get this long to end.
		DrainTimeout: durationpb.New(10 * time.Second),
		HttpFilters:  s.httpFilters(m),
	}
	if m.edge {
		h.RequestHeadersTimeout = durationpb.New(10 * time.Second)
	}
	h.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE
	if m.identity {
		h.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
		h.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Uri: true}
	}
	if m.policy {
		h.AccessLog = []*accesslogv3.AccessLog{reportLog()}
	}
	if m.trace != "" {
		h.Tracing = s.tracing(m)
	}
	return &listenerv3.Filter{
		Name:       "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(h)},
	}
}

// underscores in header names are refused at the edge, where they are a way to smuggle
// a header past a check of another spelling.
func underscores(edge bool) corev3.HttpProtocolOptions_HeadersWithUnderscoresAction {
	if edge {
		return corev3.HttpProtocolOptions_REJECT_REQUEST
	}
	return corev3.HttpProtocolOptions_ALLOW
}

func (s *Set) httpFilters(m manager) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	if m.policy {
		out = append(out, policyFilters()...)
	}
	if m.faults {
		out = append(out, &hcmv3.HttpFilter{
			Name:       faultFilter,
			Disabled:   true, // a route with a fault switches it on
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&faultv3.HTTPFault{})},
		})
	}
	return append(out, &hcmv3.HttpFilter{
		Name: "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{
			// Counters by status code, made and looked up for each request; the listener
			// has those by class. Nobody reads the proxies' headers about themselves.
			DynamicStats: wrapperspb.Bool(false), SuppressEnvoyHeaders: true,
		})},
	})
}

// tracing begins or continues a trace and sends spans to the collector.
func (s *Set) tracing(m manager) *hcmv3.HttpConnectionManager_Tracing {
	return &hcmv3.HttpConnectionManager_Tracing{
		RandomSampling:    percent(s.mesh.TraceSample),
		SpawnUpstreamSpan: wrapperspb.Bool(true),
		Provider: &tracev3.Tracing_Http{
			Name: "envoy.tracers.opentelemetry",
			ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pack(&tracev3.OpenTelemetryConfig{
				GrpcService: grpcService(otlpCluster, 0), ServiceName: m.trace,
			})},
		},
	}
}

// traceName is the proxy's name in traces, "" if it has nowhere to send them.
func (p Proxy) traceName() string {
	if !p.Traces {
		return ""
	}
	if app := p.Workload.Labels["app"]; app != "" {
		return app
	}
	return p.Workload.Ref.Name
}

func tcpProxy(stat, cluster string) *listenerv3.Filter {
	return tcpFilter(&tcpv3.TcpProxy{StatPrefix: stat, ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster}})
}

func tcpFilter(proxy *tcpv3.TcpProxy) *listenerv3.Filter {
	return &listenerv3.Filter{
		Name:       "envoy.filters.network.tcp_proxy",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(proxy)},
	}
}
