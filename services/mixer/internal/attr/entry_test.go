package attr

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestEntry(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	san := func(uri string) *accesslogv3.TLSProperties_CertificateProperties {
		return &accesslogv3.TLSProperties_CertificateProperties{SubjectAltName: []*accesslogv3.TLSProperties_CertificateProperties_SubjectAltName{
			{San: &accesslogv3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: uri}},
		}}
	}
	bag := entryOf(t, &accesslogv3.HTTPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			DownstreamRemoteAddress: socket("1.2.3.4", 1), DownstreamDirectRemoteAddress: socket("10.77.1.3", 4000),
			DownstreamLocalAddress: socket("10.77.1.4", 9080), StartTime: timestamppb.New(when), Duration: durationpb.New(time.Second),
			TlsProperties: &accesslogv3.TLSProperties{PeerCertificateProperties: san("spiffe://a"), LocalCertificateProperties: san("spiffe://b")},
		},
		Request: &accesslogv3.HTTPRequestProperties{
			RequestMethod: corev3.RequestMethod_POST, Path: "/x", Authority: "ratings", Scheme: "http", RequestId: "r1",
			UserAgent: "curl", RequestBodyBytes: 5, RequestHeaders: map[string]string{"X-User": "jason"},
		},
		Response: &accesslogv3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(404), ResponseBodyBytes: 7, ResponseHeaders: map[string]string{"a": "b"},
		},
	})
	want := map[string]any{
		"context.protocol": "http", "request.time": when, "response.time": when.Add(time.Second), "response.duration": time.Second,
		"source.ip": netip.MustParseAddr("10.77.1.3"), "source.port": int64(4000), "source.user": "spiffe://a",
		"destination.ip": netip.MustParseAddr("10.77.1.4"), "destination.port": int64(9080), "destination.user": "spiffe://b",
		"request.method": "POST", "request.path": "/x", "request.host": "ratings", "request.scheme": "http", "request.size": int64(5),
		"request.headers": map[string]string{":method": "POST", ":path": "/x", ":authority": "ratings", ":scheme": "http", "x-request-id": "r1", "user-agent": "curl", "x-user": "jason"},
		"request.id":      "r1", "request.useragent": "curl",
		"response.code": int64(404), "response.size": int64(7), "response.headers": map[string]string{"a": "b"},
	}
	got := map[string]any{}
	for _, name := range append(slices.Collect(maps.Keys(want)), "request.referer", "request.nothing", "response.nothing", "source.labels", "destination.labels", "context.x", "other") {
		if v, ok := bag.Value(name); ok {
			got[name] = v
		}
	}
	if d := cmp.Diff(want, got, equalAddr); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// entryOf is what Envoy sends of e.
func entryOf(t testing.TB, e *accesslogv3.HTTPAccessLogEntry) *Bag {
	t.Helper()
	raw, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return NewEntry(raw).Bag()
}

// always are the attributes that every entry has.
var always = []string{"context.protocol", "request.headers", "request.size", "response.code", "response.size"}

func TestAnEntryHasNoMoreThanItSays(t *testing.T) {
	t.Parallel()
	names := []string{
		"request.time", "response.time", "response.duration", "source.ip", "source.port", "source.user", "destination.ip",
		"destination.port", "destination.user", "request.method", "request.path", "request.host", "request.scheme", "request.id",
		"request.useragent", "request.referer", "response.headers",
	}
	pipe := &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/x"}}}
	for name, e := range map[string]*accesslogv3.HTTPAccessLogEntry{
		"empty": {},
		"malformed parts": {CommonProperties: &accesslogv3.AccessLogCommon{
			DownstreamDirectRemoteAddress: pipe, DownstreamRemoteAddress: socket("1.2.3.4", 1), DownstreamLocalAddress: socket("name", 1),
			StartTime: &timestamppb.Timestamp{Nanos: -1}, Duration: &durationpb.Duration{Seconds: 1, Nanos: -1},
		}},
	} {
		bag := entryOf(t, e)
		for _, n := range names {
			if v, ok := bag.Value(n); ok {
				t.Errorf("%s: %s is %v, want none", name, n, v)
			}
		}
		for _, n := range always {
			if _, ok := bag.Value(n); !ok {
				t.Errorf("%s: no %s", name, n)
			}
		}
	}
}

func TestACodeThatIsNoneIsAbsent(t *testing.T) {
	t.Parallel()
	for code, want := range map[uint32]bool{0: true, 599: true, 600: false, 1 << 31: false} {
		bag := entryOf(t, &accesslogv3.HTTPAccessLogEntry{Response: &accesslogv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(code)}})
		if got, ok := bag.Value("response.code"); ok != want || ok && got != int64(code) {
			t.Errorf("%d: got %v, %v", code, got, ok)
		}
	}
}

func TestAnEntryWithoutTheDirectPeerAndTheDuration(t *testing.T) {
	t.Parallel()
	bag := entryOf(t, &accesslogv3.HTTPAccessLogEntry{CommonProperties: &accesslogv3.AccessLogCommon{
		DownstreamRemoteAddress: socket("::ffff:1.2.3.4", 7), TimeToLastDownstreamTxByte: durationpb.New(time.Second),
	}})
	ip, _ := bag.Value("source.ip")
	port, _ := bag.Value("source.port")
	took, _ := bag.Value("response.duration")
	if ip != netip.MustParseAddr("1.2.3.4") || port != int64(7) || took != time.Second {
		t.Errorf("got %v, %v, %v", ip, port, took)
	}
}

func TestWhatIsNoUTF8IsStillRead(t *testing.T) {
	t.Parallel()
	raw := protowire.AppendTag(nil, entryRequest[0].number, protowire.BytesType)
	raw = protowire.AppendBytes(raw, protowire.AppendBytes(protowire.AppendTag(nil, requestPath[0].number, protowire.BytesType), []byte("/\xff")))
	if got := NewEntry(raw).Bag().Text("request.path"); got != "/\uFFFD" {
		t.Errorf("%q", got)
	}
}

// FuzzEntry: what a parser of protocol buffers sees in an entry is what its bag has; and
// what none can parse is no panic.
func FuzzEntry(f *testing.F) {
	seed, err := proto.Marshal(&accesslogv3.HTTPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			SampleRate: 1, UpstreamCluster: "outbound|80||a", CustomTags: map[string]string{"a": "b"}, StartTime: timestamppb.Now(),
			DownstreamLocalAddress: socket("10.0.0.1", 80),
		},
		Request: &accesslogv3.HTTPRequestProperties{
			RequestMethod: corev3.RequestMethod_GET, Path: "/", RequestHeaders: map[string]string{"a": "b", "c": ""}, RequestBodyBytes: 1 << 40,
		},
		Response: &accesslogv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200), ResponseHeaders: map[string]string{"x": "y"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		bag := NewEntry(data).Bag()
		for _, name := range []string{"source.ip", "destination.user", "request.headers", "request.time", "response.time", "response.headers"} {
			bag.Value(name)
		}
		var e accesslogv3.HTTPAccessLogEntry
		if proto.Unmarshal(data, &e) != nil {
			return
		}
		bag = entryOf(t, &e)
		req, res, c := e.GetRequest(), e.GetResponse(), e.GetCommonProperties()
		headers, _ := bag.Value("request.headers")
		if want := lowered(req.GetRequestHeaders()); len(want) == len(req.GetRequestHeaders()) {
			for k, v := range want {
				if got := headers.(map[string]string)[k]; got != v {
					t.Errorf("header %q: %q, want %q", k, got, v)
				}
			}
		}
		size, _ := bag.Value("request.size")
		code, _ := bag.Value("response.code")
		answered, _ := bag.Value("response.headers")
		if bag.Text("request.path") != req.GetPath() || bag.Text("request.host") != req.GetAuthority() || size != int64(req.GetRequestBodyBytes()) ||
			code != int64(res.GetResponseCode().GetValue()) && res.GetResponseCode().GetValue() <= maxCode || !maps.Equal(answered.(map[string]string), res.GetResponseHeaders()) ||
			bag.entry.Cluster() != c.GetUpstreamCluster() || bag.entry.Tag("a") != c.GetCustomTags()["a"] {
			t.Errorf("%v: got %q, %q, %v, %v, %v, %q, %q", &e, bag.Text("request.path"), bag.Text("request.host"), size, code, answered, bag.entry.Cluster(), bag.entry.Tag("a"))
		}
		at, ok := bag.Value("request.time")
		if want := c.GetStartTime(); ok != (want.CheckValid() == nil) || ok && at != want.AsTime() {
			t.Errorf("started %v, want %v", at, want)
		}
	})
}
