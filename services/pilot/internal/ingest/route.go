package ingest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Limits of what a route may ask of a proxy.
const (
	longest  = 24 * time.Hour
	maxMatch = 1024
)

// headerName is a field name of HTTP in lower case.
var headerName = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9a-z]+$")

// routeRule checks one rule as config.istio.io/v1alpha2 describes it, as far as proxies
// act on it.
func routeRule(r *configv1.RouteRule, say report) {
	unsupported(r, "spec", say, "redirect", "rewrite", "websocket_upgrade", "http_req_retries",
		"l4_fault", "mirror", "cors_policy", "append_headers")
	if r.GetDestination() == nil {
		say("spec.destination", "missing: the service whose requests are ruled")
	} else {
		serviceName(r.GetDestination(), "spec.destination", false, say)
		if len(r.GetDestination().GetLabels()) > 0 {
			say("spec.destination.labels", "a rule is for all versions of a service; versions are chosen by the labels of spec.route")
		}
	}
	matchCondition(r.GetMatch(), say)
	weights(r.GetRoute(), say)
	if t := r.GetHttpReqTimeout(); t != nil {
		reqTimeout(t.GetSimpleTimeout(), say)
	}
	if f := r.GetHttpFault(); f != nil {
		fault02(f, say)
	}
}

// serviceName checks a reference; one with labels alone only where it selects callers.
func serviceName(n *configv1.ServiceName, field string, labelsAlone bool, say report) {
	switch {
	case n.GetName() != "" && n.GetService() != "":
		say(field+".service", "set together with name; only one of them may be")
	case n.GetService() != "":
		if n.GetNamespace() != "" || n.GetDomain() != "" {
			say(field+".service", "is a full host name: namespace and domain must not be set with it")
		}
		if !isDomain(n.GetService()) {
			say(field+".service", "%q is no host name", n.GetService())
		}
	case n.GetName() != "":
		if !isLabel(n.GetName()) {
			say(field+".name", "%q: want the short name of a service: one DNS label", n.GetName())
		}
	case !labelsAlone || len(n.GetLabels()) == 0:
		say(field, "want name or service")
	}
	if n.GetNamespace() != "" && !isLabel(n.GetNamespace()) {
		say(field+".namespace", "%q is no namespace", n.GetNamespace())
	}
	if n.GetDomain() != "" && !isDomain(n.GetDomain()) {
		say(field+".domain", "%q is no domain", n.GetDomain())
	}
	labels(n.GetLabels(), field+".labels", say)
}

func matchCondition(m *configv1.MatchCondition, say report) {
	if m == nil {
		return
	}
	unsupported(m, "spec.match", say, "tcp", "udp")
	if m.GetSource() != nil {
		serviceName(m.GetSource(), "spec.match.source", true, say)
	}
	headers := m.GetRequest().GetHeaders()
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		field := "spec.match.request.headers[" + name + "]"
		switch {
		case name != strings.ToLower(name):
			say(field, "header names are written in lower case: %s", strings.ToLower(name))
		case !headerName.MatchString(name):
			say(field, "%q is no header name", name)
		default:
			stringMatch(headers[name], field, name == "uri", say)
		}
	}
}

// stringMatch checks one condition.
func stringMatch(m *configv1.StringMatch, field string, needed bool, say report) {
	var text, how string
	switch v := m.GetMatch().(type) {
	case *configv1.StringMatch_Exact:
		text, how = v.Exact, ".exact"
	case *configv1.StringMatch_Prefix:
		text, how, needed = v.Prefix, ".prefix", true
	case *configv1.StringMatch_Regex:
		text, how, needed = v.Regex, ".regex", true
		if err := regex(text); err != nil {
			say(field+how, "%s", err)
		}
	default:
		say(field, "want one of exact, prefix and regex")
		return
	}
	switch {
	case needed && text == "":
		say(field+how, "must not be empty")
	case len(text) > maxMatch:
		say(field+how, "%d bytes; at most %d are compared", len(text), maxMatch)
	case strings.ContainsAny(text, "\r\n\x00"):
		say(field+how, "no header holds a line break or a zero byte")
	}
}

// weights checks spec.route: each weight, and their sum.
func weights(route []*configv1.DestinationWeight, say report) {
	sum := int64(0)
	for i, w := range route {
		field := fmt.Sprintf("spec.route[%d]", i)
		sum += int64(w.GetWeight())
		if w.GetWeight() < 0 || w.GetWeight() > 100 {
			say(field+".weight", "%d: want 0 to 100", w.GetWeight())
		}
		if w.GetDestination() != nil {
			serviceName(w.GetDestination(), field+".destination", false, say)
			if len(w.GetDestination().GetLabels()) > 0 {
				say(field+".destination.labels", "a version is chosen by %s.labels", field)
			}
		}
		labels(w.GetLabels(), field+".labels", say)
	}
	switch {
	case len(route) == 0, sum == 100:
	case len(route) == 1 && sum == 0:
	case len(route) == 1:
		say("spec.route[0].weight", "is %d; the only destination has 100, or no weight", sum)
	default:
		say("spec.route", "the weights add up to %d; want 100", sum)
	}
}

func reqTimeout(t *configv1.HTTPTimeout_SimpleTimeout, say report) {
	const field = "spec.httpReqTimeout.simpleTimeout"
	if t == nil {
		say("spec.httpReqTimeout", "want simpleTimeout")
		return
	}
	if t.GetTimeout() == nil {
		say(field+".timeout", "missing")
	}
	millis(t.GetTimeout(), longest, field+".timeout", say)
	unsupported(t, field, say, "override_header_name")
}

// fault02 checks the faults that proxies can make.
func fault02(f *configv1.HTTPFaultInjection, say report) {
	const field = "spec.httpFault"
	if f.GetDelay() == nil && f.GetAbort() == nil {
		say(field, "want delay or abort")
	}
	if d := f.GetDelay(); d != nil {
		unsupported(d, field+".delay", say, "exponential_delay", "override_header_name")
		percent(d.GetPercent().GetValue(), field+".delay.percent", say)
		if d.GetDelayType() == nil {
			say(field+".delay", "want fixedDelay")
		}
		millis(d.GetFixedDelay(), longest, field+".delay.fixedDelay", say)
	}
	if a := f.GetAbort(); a != nil {
		unsupported(a, field+".abort", say, "grpc_status", "http2_error", "override_header_name")
		percent(a.GetPercent().GetValue(), field+".abort.percent", say)
		status, isHTTP := a.GetErrorType().(*configv1.HTTPFaultInjection_Abort_HttpStatus)
		switch {
		case a.GetErrorType() == nil:
			say(field+".abort", "want httpStatus")
		case isHTTP && (status.HttpStatus < 200 || status.HttpStatus > 599):
			say(field+".abort.httpStatus", "%d: want 200 to 599", status.HttpStatus)
		}
	}
}

// leastPercent is what proxies count in: one of a million requests.
const leastPercent float32 = 0.0001

func percent(p float32, field string, say report) {
	switch {
	case p < 0 || p > 100:
		say(field, "%v: want 0 to 100", p)
	case p > 0 && p < leastPercent:
		say(field, "%v: the smallest share is %v; 0 is none", p, leastPercent)
	}
}
