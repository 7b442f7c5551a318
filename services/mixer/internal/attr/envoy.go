package attr

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// builder collects values and leaves out what is not there.
type builder map[string]any

// ofCheck is the most attributes that a check has.
const ofCheck = 17

func (b builder) text(name, v string) {
	if v != "" {
		b[name] = v
	}
}

func (b builder) at(name string, t *timestamppb.Timestamp) (time.Time, bool) {
	if t == nil || t.CheckValid() != nil {
		return time.Time{}, false
	}
	b[name] = t.AsTime()
	return t.AsTime(), true
}

func (b builder) address(nameIP, namePort string, a *corev3.Address) {
	s := a.GetSocketAddress()
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return
	}
	b[nameIP] = ip.Unmap()
	b[namePort] = int64(s.GetPortValue())
}

// headers stores a header map and the attributes that are copies of headers.
func (b builder) headers(h map[string]string) {
	b["request.headers"] = h
	b.text("request.id", h["x-request-id"])
	b.text("request.useragent", h["user-agent"])
	b.text("request.referer", h["referer"])
}

// lower returns the headers with names in lower case, as Envoy sends them anyway: then
// they are the map that came.
func lower(headers map[string]string) map[string]string {
	for k := range headers {
		if strings.ToLower(k) != k {
			return lowered(headers)
		}
	}
	if headers == nil {
		return map[string]string{}
	}
	return headers
}

func lowered(headers map[string]string) map[string]string {
	out := make(map[string]string, len(headers))
	for k, v := range headers {
		out[strings.ToLower(k)] = v
	}
	return out
}

// FromCheck reads what Envoy's ext_authz filter sends; the Bag shares the maps of req.
func FromCheck(req *authv3.CheckRequest) *Bag {
	a := req.GetAttributes()
	http := a.GetRequest().GetHttp()
	b := make(builder, ofCheck)
	b["context.protocol"] = "http"
	b["request.size"] = max(http.GetSize(), 0)
	b.address("source.ip", "source.port", a.GetSource().GetAddress())
	b.address("destination.ip", "destination.port", a.GetDestination().GetAddress())
	b.text("source.user", a.GetSource().GetPrincipal())
	b.text("destination.user", a.GetDestination().GetPrincipal())
	b.at("request.time", a.GetRequest().GetTime())
	b.headers(lower(http.GetHeaders()))
	b.text("request.method", http.GetMethod())
	b.text("request.path", http.GetPath())
	b.text("request.host", http.GetHost())
	b.text("request.scheme", http.GetScheme())
	return &Bag{values: b}
}
