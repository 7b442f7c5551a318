package translate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Two filters ask mixer, one for the rules that let a request pass when mixer is away
// and one for those that do not, because ext_authz has one answer to that per filter.
// Both are off by default; a route switches them on.
const (
	allowFilter = "outrigger.policy.allow"
	denyFilter  = "outrigger.policy.deny"
)

// Keys that tell mixer what is asked.
const (
	classKey   = "outrigger.class"
	serviceKey = "outrigger.service"
	// metadataKey names the part of a route's metadata that is ours.
	metadataKey  = "outrigger"
	reportKey    = "report"
	serviceField = "service"
)

// reportFilter marks the requests of the routes that switch it on for the access log,
// which asks for the mark. The log's filter could look at the route itself by a CEL
// expression; that costs every request of every route 3 to 5 % of processor time, and
// the mark costs those that bear it next to nothing.
const reportFilter = "outrigger.report"

// policyFilters are the filters of an inbound listener. The mark is set first, so that
// what mixer refuses is recorded as well.
func policyFilters() []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{markFilter(), policyFilter(denyFilter, false), policyFilter(allowFilter, true)}
}

func markFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:     reportFilter,
		Disabled: true,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&setv3.Config{Metadata: []*setv3.Metadata{{
			MetadataNamespace: metadataKey,
			Value:             &structpb.Struct{Fields: map[string]*structpb.Value{reportKey: structpb.NewBoolValue(true)}},
		}}})},
	}
}

func policyFilter(name string, allow bool) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:     name,
		Disabled: true,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&authzv3.ExtAuthz{
			Services:               &authzv3.ExtAuthz_GrpcService{GrpcService: grpcService(mixerCluster, model.DefaultPolicyTimeout)},
			TransportApiVersion:    corev3.ApiVersion_V3,
			FailureModeAllow:       allow,
			StatusOnError:          &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
			IncludePeerCertificate: false,
			StatPrefix:             strings.TrimPrefix(name, "outrigger.policy."),
			ClearRouteCache:        false,
			IncludeTlsSession:      false,
			ValidateMutations:      true,
		})},
	}
}

// concern is what mixer must be asked and told about requests of one destination.
type concern struct {
	allow, deny time.Duration // longest wait of the rules of that class, 0 if there is none
	report      bool
	sources     []model.Ref
}

// print identifies the concern for the cache.
func (c concern) print() string { return fmt.Sprint(c.allow, c.deny, c.report, c.sources) }

// concernOf asks every rule whether it can match requests to a destination.
func (s *Set) concernOf(namespace string, known map[string]any) concern {
	var c concern
	if !s.mesh.Policy {
		return c
	}
	for _, p := range s.Snapshot.Policies {
		if p.Ref.Namespace != namespace && !slices.Contains(s.Snapshot.Settings.RootNamespaces, p.Ref.Namespace) {
			continue
		}
		if !p.MayConcern(known) {
			continue
		}
		c.sources = append(append(c.sources, p.Ref), p.Uses...)
		c.report = c.report || p.Report
		switch {
		case p.Check && p.Deny:
			c.deny = max(c.deny, p.Timeout)
		case p.Check:
			c.allow = max(c.allow, p.Timeout)
		}
	}
	return c
}

// apply switches on what a route needs.
func (c concern) apply(r *routev3.Route, service string) {
	for _, f := range []struct {
		name, class string
		timeout     time.Duration
	}{{allowFilter, "allow", c.allow}, {denyFilter, "deny", c.deny}} {
		if f.timeout == 0 {
			continue
		}
		settings := &authzv3.CheckSettings{ContextExtensions: map[string]string{classKey: f.class, serviceKey: service}}
		if f.timeout != model.DefaultPolicyTimeout {
			// Envoy looks a client up by the hash of this at every request, so it is said
			// only where it says something.
			settings.ServiceOverride = &authzv3.CheckSettings_GrpcService{GrpcService: grpcService(mixerCluster, f.timeout)}
		}
		setFilter(r, f.name, &routev3.FilterConfig{Config: pack(&authzv3.ExtAuthzPerRoute{
			Override: &authzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: settings},
		})})
	}
	if c.report {
		setFilter(r, reportFilter, &routev3.FilterConfig{Config: &anypb.Any{}})
		r.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: {Fields: map[string]*structpb.Value{
			serviceField: structpb.NewStringValue(service),
		}}}}
	}
}

// setFilter switches a filter on for a route.
func setFilter(r *routev3.Route, name string, config *routev3.FilterConfig) {
	if r.TypedPerFilterConfig == nil {
		r.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	r.TypedPerFilterConfig[name] = pack(config)
}

// reportLog sends the requests of routes that some rule records to mixer.
func reportLog() *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.http_grpc",
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_MetadataFilter{
			MetadataFilter: &accesslogv3.MetadataFilter{
				Matcher: &matcherv3.MetadataMatcher{
					Filter: metadataKey,
					Path:   []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: reportKey}}},
					Value:  &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: true}},
				},
				MatchIfKeyNotFound: wrapperspb.Bool(false),
			},
		}},
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&alsv3.HttpGrpcAccessLogConfig{
			CommonConfig: &alsv3.CommonGrpcAccessLogConfig{
				LogName:             "outrigger",
				GrpcService:         grpcService(mixerCluster, 0),
				TransportApiVersion: corev3.ApiVersion_V3,
				BufferFlushInterval: durationpb.New(250 * time.Millisecond),
				BufferSizeBytes:     wrapperspb.UInt32(64 << 10),
				CustomTags:          []*tracingv3.CustomTag{serviceTag()},
			},
			AdditionalRequestHeadersToLog: model.LoggedHeaders(),
		})},
	}
}

// serviceTag puts the service of the route into the log entry.
func serviceTag() *tracingv3.CustomTag {
	return &tracingv3.CustomTag{
		Tag: serviceKey,
		Type: &tracingv3.CustomTag_Metadata_{Metadata: &tracingv3.CustomTag_Metadata{
			Kind: &metadatav3.MetadataKind{Kind: &metadatav3.MetadataKind_Route_{Route: &metadatav3.MetadataKind_Route{}}},
			MetadataKey: &metadatav3.MetadataKey{Key: metadataKey, Path: []*metadatav3.MetadataKey_PathSegment{{
				Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: serviceField},
			}}},
		}},
	}
}
