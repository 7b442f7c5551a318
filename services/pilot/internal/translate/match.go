package translate

import (
	"math"
	"regexp"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

const faultFilter = "envoy.filters.http.fault"

// matchOf limits base by the conditions of a rule. A condition on uri takes base's
// place when base is every path, else it is one more condition beside it: so a rule
// behind an ingress path acts on what both allow.
func matchOf(headers []model.HeaderMatch, base *routev3.RouteMatch) *routev3.RouteMatch {
	m, ok := proto.Clone(base).(*routev3.RouteMatch)
	if !ok {
		panic("a clone has another type")
	}
	for _, h := range headers {
		if h.Name == "uri" && base.GetPrefix() == "/" {
			setPath(m, h.Match)
			continue
		}
		m.Headers = append(m.Headers, headerMatch(h))
	}
	return m
}

func setPath(m *routev3.RouteMatch, s *configv1.StringMatch) {
	switch v := s.GetMatch().(type) {
	case *configv1.StringMatch_Exact:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: v.Exact}
	case *configv1.StringMatch_Prefix:
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: v.Prefix}
	case *configv1.StringMatch_Regex:
		m.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: v.Regex}}
	}
}

func headerMatch(h model.HeaderMatch) *routev3.HeaderMatcher {
	if h.Name == "uri" {
		return &routev3.HeaderMatcher{Name: ":path", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: pathMatch(h.Match)}}
	}
	name := h.Name
	if p, ok := pseudo[name]; ok {
		name = p
	}
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(h.Match)}}
}

func stringMatch(s *configv1.StringMatch) *matcherv3.StringMatcher {
	switch v := s.GetMatch().(type) {
	case *configv1.StringMatch_Exact:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v.Exact}}
	case *configv1.StringMatch_Prefix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: v.Prefix}}
	}
	return regexMatch(s.GetRegex())
}

// pathMatch is a match of the path in the :path header, which has the query as well.
func pathMatch(s *configv1.StringMatch) *matcherv3.StringMatcher {
	const query = `(\?.*)?`
	switch v := s.GetMatch().(type) {
	case *configv1.StringMatch_Exact:
		return regexMatch(regexp.QuoteMeta(v.Exact) + query)
	case *configv1.StringMatch_Prefix:
		return stringMatch(s)
	}
	return regexMatch("(" + s.GetRegex() + ")" + query)
}

// regexMatch matches the whole string, as Envoy's regexes do.
func regexMatch(re string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: re}}}
}

// faultOf is the fault of one route, nil if it has none.
func faultOf(f *configv1.HTTPFaultInjection) *faultv3.HTTPFault {
	if f.GetDelay() == nil && f.GetAbort() == nil {
		return nil
	}
	out := &faultv3.HTTPFault{}
	if d := f.GetDelay(); d != nil {
		out.Delay = &commonv3.FaultDelay{
			FaultDelaySecifier: &commonv3.FaultDelay_FixedDelay{FixedDelay: d.GetFixedDelay()},
			Percentage:         fraction(d.GetPercent()),
		}
	}
	if a := f.GetAbort(); a != nil {
		out.Abort = &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(a.GetHttpStatus())}, //nolint:gosec // checked by ingest
			Percentage: fraction(a.GetPercent()),
		}
	}
	return out
}

// fraction keeps a percentage to a ten-thousandth; unset is every request.
func fraction(v *wrapperspb.FloatValue) *typev3.FractionalPercent {
	p := float64(100)
	if v != nil {
		p = float64(v.GetValue())
	}
	return &typev3.FractionalPercent{
		Numerator:   uint32(math.Round(p * 10000)),
		Denominator: typev3.FractionalPercent_MILLION,
	}
}
