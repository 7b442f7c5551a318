package attr

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// builder collects values and leaves out what is not there.
type builder map[string]any

// The most attributes that are read of one message.
const (
	ofCheck = 17
	ofLog   = 22
)

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
	return &Bag{b}
}

// FromLog reads an HTTP entry of Envoy's gRPC access log. The headers are those that
// the proxy was told to log, and the pseudo headers.
func FromLog(e *accesslogv3.HTTPAccessLogEntry) *Bag {
	c, req, res := e.GetCommonProperties(), e.GetRequest(), e.GetResponse()
	b := make(builder, ofLog)
	b["context.protocol"] = "http"
	b["request.size"] = int64(req.GetRequestBodyBytes())
	b["response.size"] = int64(res.GetResponseBodyBytes())
	b["response.code"] = int64(res.GetResponseCode().GetValue())
	peer := c.GetDownstreamDirectRemoteAddress()
	if peer == nil {
		peer = c.GetDownstreamRemoteAddress()
	}
	b.address("source.ip", "source.port", peer)
	b.address("destination.ip", "destination.port", c.GetDownstreamLocalAddress())
	for _, san := range c.GetTlsProperties().GetPeerCertificateProperties().GetSubjectAltName() {
		b.text("source.user", san.GetUri())
	}
	for _, san := range c.GetTlsProperties().GetLocalCertificateProperties().GetSubjectAltName() {
		b.text("destination.user", san.GetUri())
	}
	start, started := b.at("request.time", c.GetStartTime())
	d := c.GetDuration()
	if d == nil {
		d = c.GetTimeToLastDownstreamTxByte()
	}
	if d.CheckValid() == nil {
		b["response.duration"] = d.AsDuration()
		if started {
			b["response.time"] = start.Add(d.AsDuration())
		}
	}
	b.logged(e)
	return &Bag{b}
}

func (b builder) logged(e *accesslogv3.HTTPAccessLogEntry) {
	req := e.GetRequest()
	headers := make(map[string]string, len(req.GetRequestHeaders())+8)
	for _, h := range [...]struct{ name, value string }{
		{":method", method(req)}, {":path", req.GetPath()}, {":authority", req.GetAuthority()}, {":scheme", req.GetScheme()},
		{"x-request-id", req.GetRequestId()}, {"user-agent", req.GetUserAgent()}, {"referer", req.GetReferer()},
		{"x-forwarded-for", req.GetForwardedFor()},
	} {
		if h.value != "" {
			headers[h.name] = h.value
		}
	}
	for k, v := range req.GetRequestHeaders() {
		headers[strings.ToLower(k)] = v
	}
	b.headers(headers)
	b.text("request.method", headers[":method"])
	b.text("request.path", req.GetPath())
	b.text("request.host", req.GetAuthority())
	b.text("request.scheme", req.GetScheme())
	if h := e.GetResponse().GetResponseHeaders(); len(h) > 0 {
		b["response.headers"] = h
	}
}

func method(req *accesslogv3.HTTPRequestProperties) string {
	if req.GetRequestMethod() == corev3.RequestMethod_METHOD_UNSPECIFIED {
		return ""
	}
	return req.GetRequestMethod().String()
}
