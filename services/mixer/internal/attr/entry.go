package attr

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
)

// Entry is an HTTP entry of Envoy's gRPC access log (HTTPAccessLogEntry) as it came.
// Rules read a few of its sixty fields: decoding all of them costs more than the rules.
// An attribute is read from it once, however many rules ask. What is malformed is absent;
// of a part that is there twice, which Envoy does not send, the last counts and nothing is
// merged. It belongs to one goroutine.
type Entry struct {
	common, asked, answered []byte            // its parts
	headers                 map[string]string // of the request, once they were read
	known                   []known           // attributes that were asked for
}

// known is an attribute as the entry has it.
type known struct {
	name    string
	value   any
	present bool
}

// NewEntry returns the entry with that encoding, which it keeps.
func NewEntry(raw []byte) *Entry {
	return &Entry{
		common: messageAt(raw, entryCommon), asked: messageAt(raw, entryRequest), answered: messageAt(raw, entryResponse),
	}
}

// Bag returns the entry's attributes. The headers are those that the proxy was told to
// log, and the pseudo headers.
func (e *Entry) Bag() *Bag { return &Bag{entry: e} }

// LogParts takes a message of a stream of access logs apart (StreamAccessLogsMessage):
// the encoded identifier, nil if there is none, and the HTTP entries, one more than most
// where there are more than that.
func LogParts(message []byte, most int) (identifier []byte, entries [][]byte) {
	if v, ok := find(message, streamIdentifier); ok {
		identifier = v.bytes
	}
	each(message, streamEntries, func(entry []byte) {
		if len(entries) <= most {
			entries = append(entries, entry)
		}
	})
	return identifier, entries
}

var (
	streamIdentifier = pathTo(&alsv3.StreamAccessLogsMessage{}, "identifier")
	streamEntries    = pathTo(&alsv3.StreamAccessLogsMessage{}, "http_logs", "log_entry")
)

// Where things are in an entry.
var (
	entryCommon   = pathTo(&accesslogv3.HTTPAccessLogEntry{}, "common_properties")
	entryRequest  = pathTo(&accesslogv3.HTTPAccessLogEntry{}, "request")
	entryResponse = pathTo(&accesslogv3.HTTPAccessLogEntry{}, "response")

	commonPeer      = pathTo(&accesslogv3.AccessLogCommon{}, "downstream_direct_remote_address")
	commonRemote    = pathTo(&accesslogv3.AccessLogCommon{}, "downstream_remote_address")
	commonLocal     = pathTo(&accesslogv3.AccessLogCommon{}, "downstream_local_address")
	commonPeerSAN   = pathTo(&accesslogv3.AccessLogCommon{}, "tls_properties", "peer_certificate_properties", "subject_alt_name")
	commonLocalSAN  = pathTo(&accesslogv3.AccessLogCommon{}, "tls_properties", "local_certificate_properties", "subject_alt_name")
	commonStart     = pathTo(&accesslogv3.AccessLogCommon{}, "start_time")
	commonDuration  = pathTo(&accesslogv3.AccessLogCommon{}, "duration")
	commonLastByte  = pathTo(&accesslogv3.AccessLogCommon{}, "time_to_last_downstream_tx_byte")
	commonCluster   = pathTo(&accesslogv3.AccessLogCommon{}, "upstream_cluster")
	commonTags      = pathTo(&accesslogv3.AccessLogCommon{}, "custom_tags")
	requestMethod   = pathTo(&accesslogv3.HTTPRequestProperties{}, "request_method")
	requestScheme   = pathTo(&accesslogv3.HTTPRequestProperties{}, "scheme")
	requestHost     = pathTo(&accesslogv3.HTTPRequestProperties{}, "authority")
	requestPath     = pathTo(&accesslogv3.HTTPRequestProperties{}, "path")
	requestAgent    = pathTo(&accesslogv3.HTTPRequestProperties{}, "user_agent")
	requestReferer  = pathTo(&accesslogv3.HTTPRequestProperties{}, "referer")
	requestForward  = pathTo(&accesslogv3.HTTPRequestProperties{}, "forwarded_for")
	requestID       = pathTo(&accesslogv3.HTTPRequestProperties{}, "request_id")
	requestBody     = pathTo(&accesslogv3.HTTPRequestProperties{}, "request_body_bytes")
	requestHeaders  = pathTo(&accesslogv3.HTTPRequestProperties{}, "request_headers")
	responseCode    = pathTo(&accesslogv3.HTTPResponseProperties{}, "response_code", "value")
	responseBody    = pathTo(&accesslogv3.HTTPResponseProperties{}, "response_body_bytes")
	responseHeaders = pathTo(&accesslogv3.HTTPResponseProperties{}, "response_headers")

	addressIP   = pathTo(&corev3.Address{}, "socket_address", "address")
	addressPort = pathTo(&corev3.Address{}, "socket_address", "port_value")
	sanURI      = pathTo(&accesslogv3.TLSProperties_CertificateProperties_SubjectAltName{}, "uri")
)

// Tag returns a custom tag of the log, "" without it.
func (e *Entry) Tag(name string) string {
	return entryOfMap(e.common, commonTags, name)
}

// Cluster returns the name of the cluster that the request went to, "" for none.
func (e *Entry) Cluster() string { return textAt(e.common, commonCluster) }

// value returns an attribute.
func (e *Entry) value(name string) (any, bool) {
	for _, k := range e.known {
		if k.name == name {
			return k.value, k.present
		}
	}
	v, ok := e.read(name)
	if e.known == nil {
		e.known = make([]known, 0, asks)
	}
	if len(e.known) < maxKnown {
		e.known = append(e.known, known{name, v, ok})
	}
	return v, ok
}

// Rules ask about few attributes of an entry, asks of them as a rule. There are fewer than
// maxKnown; the names of others, which rules may ask for too, need not be remembered.
const (
	asks     = 8
	maxKnown = 32
)

// read finds an attribute's value.
func (e *Entry) read(name string) (any, bool) {
	side, _, _ := strings.Cut(name, ".")
	switch side {
	case "context":
		return "http", name == "context.protocol"
	case "source":
		return e.source(name)
	case "destination":
		return e.destination(name)
	case "request":
		return e.request(name)
	case "response":
		return e.response(name)
	}
	return nil, false
}

func (e *Entry) source(name string) (any, bool) {
	if name == "source.user" {
		return present(lastURI(e.common, commonPeerSAN))
	}
	peer, ok := find(e.common, commonPeer)
	if !ok {
		peer, _ = find(e.common, commonRemote)
	}
	return ofSocket(peer.bytes, name, "source.ip", "source.port")
}

func (e *Entry) destination(name string) (any, bool) {
	if name == "destination.user" {
		return present(lastURI(e.common, commonLocalSAN))
	}
	return ofSocket(messageAt(e.common, commonLocal), name, "destination.ip", "destination.port")
}

// ofSocket returns the IP address or the port of an Address, both only if it is one of a
// socket.
func ofSocket(message []byte, name, ofIP, ofPort string) (any, bool) {
	if name != ofIP && name != ofPort {
		return nil, false
	}
	ip, err := netip.ParseAddr(textAt(message, addressIP))
	if err != nil {
		return nil, false
	}
	if name == ofIP {
		return ip.Unmap(), true
	}
	return int64(uint32(numberAt(message, addressPort))), true
}

func lastURI(common []byte, sans path) string {
	var uri string
	each(common, sans, func(san []byte) {
		if text := textAt(san, sanURI); text != "" {
			uri = text
		}
	})
	return uri
}

func (e *Entry) request(name string) (any, bool) {
	if name == "request.time" {
		return e.started()
	}
	switch name {
	case "request.size":
		return int64(numberAt(e.asked, requestBody)), true
	case "request.path":
		return present(textAt(e.asked, requestPath))
	case "request.host":
		return present(textAt(e.asked, requestHost))
	case "request.scheme":
		return present(textAt(e.asked, requestScheme))
	case "request.headers":
		return e.requestHeaders(), true
	}
	if header, ok := headerOf[name]; ok {
		return present(e.requestHeaders()[header])
	}
	return nil, false
}

// headerOf has the attributes that are copies of headers.
var headerOf = map[string]string{
	"request.method": ":method", "request.id": "x-request-id", "request.useragent": "user-agent", "request.referer": "referer",
}

// requestHeaders are those that were logged, and what the log has of others in fields of
// their own.
func (e *Entry) requestHeaders() map[string]string {
	if e.headers != nil {
		return e.headers
	}
	e.headers = map[string]string{}
	if m := corev3.RequestMethod(numberAt(e.asked, requestMethod)); m != corev3.RequestMethod_METHOD_UNSPECIFIED {
		e.headers[":method"] = m.String()
	}
	for _, h := range [...]struct {
		name string
		at   path
	}{
		{":path", requestPath}, {":authority", requestHost}, {":scheme", requestScheme}, {"x-request-id", requestID},
		{"user-agent", requestAgent}, {"referer", requestReferer}, {"x-forwarded-for", requestForward},
	} {
		if v := textAt(e.asked, h.at); v != "" {
			e.headers[h.name] = v
		}
	}
	eachOfMap(e.asked, requestHeaders, func(k, v []byte) { e.headers[strings.ToLower(text(k))] = text(v) })
	return e.headers
}

// maxCode is the largest status of HTTP (RFC 9110, 15). A proxy that says another could make as many
// series of a metric as there are numbers.
const maxCode = 599

func (e *Entry) response(name string) (any, bool) {
	switch name {
	case "response.code":
		code := numberAt(e.answered, responseCode)
		return int64(code), code <= maxCode
	case "response.size":
		return int64(numberAt(e.answered, responseBody)), true
	case "response.headers":
		headers := map[string]string{}
		eachOfMap(e.answered, responseHeaders, func(k, v []byte) { headers[text(k)] = text(v) })
		return headers, len(headers) > 0
	case "response.duration":
		d, ok := e.took()
		return d, ok
	case "response.time":
		start, started := e.started()
		d, took := e.took()
		if !started || !took {
			return nil, false
		}
		return start.(time.Time).Add(d), true
	}
	return nil, false
}

// started is when the first byte of the request came.
func (e *Entry) started() (any, bool) {
	at, ok := find(e.common, commonStart)
	if !ok {
		return nil, false
	}
	return timeOf(at.bytes)
}

// took is how long it was from there to the last byte of the answer.
func (e *Entry) took() (time.Duration, bool) {
	d, ok := find(e.common, commonDuration)
	if !ok {
		d, ok = find(e.common, commonLastByte)
	}
	if !ok {
		return 0, false
	}
	return durationOf(d.bytes)
}

// present is a text that is not empty.
func present(text string) (any, bool) { return text, text != "" }
