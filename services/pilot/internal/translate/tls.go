package translate

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An endpoint with this metadata is a workload of the mesh.
const meshKey, meshValue = "identity", "mesh"

// transportSockets speak mTLS to workloads with an identity, and plain text to others.
// The peer must show one of accounts; if there are none, no workload has the metadata
// and the name that is asked for then is one that nobody can have.
func transportSockets(accounts []string) []*clusterv3.Cluster_TransportSocketMatch {
	if accounts == nil {
		accounts = []string{"spiffe://invalid/no-account"}
	}
	var names []*tlsv3.SubjectAltNameMatcher
	for _, a := range accounts {
		names = append(names, sanExact(a))
	}
	return []*clusterv3.Cluster_TransportSocketMatch{{
		Name:  "mesh",
		Match: &structpb.Struct{Fields: map[string]*structpb.Value{meshKey: structpb.NewStringValue(meshValue)}},
		TransportSocket: &corev3.TransportSocket{
			Name: "envoy.transport_sockets.tls",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{
				CommonTlsContext: commonTLS(names),
			})},
		},
	}, {
		Name:  "plain",
		Match: &structpb.Struct{},
		TransportSocket: &corev3.TransportSocket{
			Name:       "envoy.transport_sockets.raw_buffer",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&rawv3.RawBuffer{})},
		},
	}}
}

// serverTLS demands a certificate of the mesh's trust domain.
func serverTLS(trustDomain string) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.DownstreamTlsContext{
			RequireClientCertificate: wrapperspb.Bool(true),
			CommonTlsContext: commonTLS([]*tlsv3.SubjectAltNameMatcher{{
				SanType: tlsv3.SubjectAltNameMatcher_URI,
				Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + trustDomain + "/"}},
			}}),
		})},
	}
}

func sanExact(uri string) *tlsv3.SubjectAltNameMatcher {
	return &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_URI,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: uri}},
	}
}

// commonTLS takes certificate and roots from the helper beside the proxy.
func commonTLS(names []*tlsv3.SubjectAltNameMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: leafSecret, SdsConfig: sds()}},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: names},
				ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: rootSecret, SdsConfig: sds()},
			},
		},
	}
}

// sds must be equal to what the bootstrap says (envoy.SDSConfig): then Envoy has one
// subscription for all uses of a secret. It waits for its secret as long as it takes:
// a cluster or listener without one would carry nothing.
func sds() *corev3.ConfigSource {
	helper := grpcService(sdsCluster, 0)
	helper.GetEnvoyGrpc().RetryPolicy = &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
		BaseInterval: durationpb.New(200 * time.Millisecond), MaxInterval: durationpb.New(2 * time.Second),
	}}
	return &corev3.ConfigSource{
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true, GrpcServices: []*corev3.GrpcService{helper},
		}},
	}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func percent(v float64) *typev3.Percent { return &typev3.Percent{Value: v} }
