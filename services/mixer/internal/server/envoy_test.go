package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	istiomixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/istio/mixer/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

var when = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// outgoing names the caller on the wire; called reads it, where TLS would be asked.
func (m *mesh) outgoing(ctx context.Context) context.Context {
	account, _ := ctx.Value(asKey{}).(string)
	return metadata.AppendToOutgoingContext(ctx, header, account)
}

func (m *mesh) called(ctx context.Context) context.Context {
	account := strings.Join(metadata.ValueFromIncomingContext(ctx, header), "")
	if account == "admin" {
		return rpc.WithCaller(ctx, rpc.Caller{Local: true})
	}
	namespace, name := "default", account
	if ns, rest, ok := strings.Cut(account, "/"); ok {
		namespace, name = ns, rest
	}
	id, err := spiffe.New("cluster.local", namespace, name)
	if err != nil {
		m.t.Errorf("caller %q: %v", account, err)
	}
	return rpc.WithCaller(ctx, rpc.Caller{ID: id})
}

// envoyRequest is a request as Envoy tells of it.
type envoyRequest struct {
	Class, Proxy, Service string
	Source, Principal     string
	Destination           string
	Path                  string
	Headers               map[string]string
	Code                  uint32
}

func socket(addr string) *corev3.Address {
	if addr == "" {
		return nil
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: addr, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 9080},
	}}}
}

func (r envoyRequest) check() *authv3.CheckRequest {
	ext := map[string]string{}
	for k, v := range map[string]string{ExtensionClass: r.Class, ExtensionDestination: r.Proxy, ExtensionService: r.Service} {
		if v != "" {
			ext[k] = v
		}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:            &authv3.AttributeContext_Peer{Address: socket(r.Source), Principal: r.Principal},
		Destination:       &authv3.AttributeContext_Peer{Address: socket(r.Destination)},
		ContextExtensions: ext,
		Request: &authv3.AttributeContext_Request{Time: timestamppb.New(when), Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: r.Path, Headers: r.Headers,
		}},
	}}
}

func (r envoyRequest) entry() *accesslogv3.HTTPAccessLogEntry {
	c := &accesslogv3.AccessLogCommon{
		DownstreamDirectRemoteAddress: socket(r.Source), DownstreamLocalAddress: socket(r.Destination),
		StartTime: timestamppb.New(when), Duration: durationpb.New(6848 * time.Microsecond),
		TlsProperties: &accesslogv3.TLSProperties{PeerCertificateProperties: &accesslogv3.TLSProperties_CertificateProperties{
			SubjectAltName: []*accesslogv3.TLSProperties_CertificateProperties_SubjectAltName{
				{San: &accesslogv3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: r.Principal}},
			},
		}},
	}
	if cluster, ok := strings.CutPrefix(r.Service, "cluster "); ok {
		c.UpstreamCluster = cluster
	} else if r.Service != "" {
		c.CustomTags = map[string]string{TagService: r.Service}
	}
	return &accesslogv3.HTTPAccessLogEntry{
		CommonProperties: c,
		Request:          &accesslogv3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_GET, Path: r.Path, RequestHeaders: r.Headers},
		Response:         &accesslogv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(r.Code), ResponseBodyBytes: 17},
	}
}

// log streams one message of entries and closes.
func (m *mesh) log(ctx context.Context, body []byte) (string, error) {
	var in struct {
		Node, Log string
		Entries   []envoyRequest
	}
	m.decode(body, &in)
	stream, err := alsv3.NewAccessLogServiceClient(m.conn).StreamAccessLogs(m.outgoing(ctx))
	if err != nil {
		return "", err
	}
	msg := &alsv3.StreamAccessLogsMessage{
		Identifier: &alsv3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: in.Node}, LogName: in.Log},
		LogEntries: &alsv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &alsv3.StreamAccessLogsMessage_HTTPAccessLogEntries{}},
	}
	for _, e := range in.Entries {
		msg.GetHttpLogs().LogEntry = append(msg.GetHttpLogs().GetLogEntry(), e.entry())
	}
	// Whether the server already refused shows in what CloseAndRecv returns.
	_ = stream.Send(msg)
	_, err = stream.CloseAndRecv()
	return "taken\n", err
}

// compress writes attributes with message words only; strings that begin with "int:" or
// "ip:" become what they say.
func compress(t testing.TB, in map[string]any) *istiomixerv1.CompressedAttributes {
	t.Helper()
	out := &istiomixerv1.CompressedAttributes{
		Strings: map[int32]int32{}, Int64S: map[int32]int64{}, StringMaps: map[int32]*istiomixerv1.StringMap{},
	}
	word := func(s string) int32 {
		out.Words = append(out.Words, s)
		return -int32(len(out.Words))
	}
	for k, v := range in {
		switch v := v.(type) {
		case string:
			out.Strings[word(k)] = word(v)
		case float64:
			out.Int64S[word(k)] = int64(v)
		case map[string]any:
			m := &istiomixerv1.StringMap{Entries: map[int32]int32{}}
			for mk, mv := range v {
				m.Entries[word(mk)] = word(fmt.Sprint(mv))
			}
			out.StringMaps[word(k)] = m
		default:
			t.Fatalf("attribute %s: a %T", k, v)
		}
	}
	return out
}

// references shows what an answer depends on, for a client that knows one word only, so
// that all others are in the message.
func references(t testing.TB, refs *istiomixerv1.ReferencedAttributes) []string {
	t.Helper()
	word := func(i int32) string {
		if i == 0 {
			return "source.ip"
		}
		if at := int(-i - 1); i < 0 && at < len(refs.GetWords()) {
			return refs.GetWords()[at]
		}
		t.Fatalf("word %d was not to be used", i)
		return ""
	}
	var out []string
	for _, m := range refs.GetAttributeMatches() {
		s := word(m.GetName())
		if m.GetCondition() == istiomixerv1.ReferencedAttributes_ABSENCE {
			s = "no " + s
		}
		out = append(out, s)
	}
	return out
}

func TestAccessLogWaitsForItsWorkload(t *testing.T) {
	t.Parallel()
	m := newMesh(t, nil)
	done := make(chan string, 1)
	go func() {
		out, err := m.log(as(m.t.Context(), "late"), []byte(`{"node": "sidecar~10.77.1.9~late.default~cluster.local", "log": "outrigger"}`))
		done <- fmt.Sprint(out, err)
	}()
	m.world.Set(registry.Build([]*configv1.Object{{
		Metadata: &configv1.Metadata{Name: "late", Namespace: "default"},
		Spec:     &configv1.Object_Workload{Workload: &configv1.Workload{Account: "late", Address: "10.77.1.9"}},
	}}, "cluster.local", 1))
	if got := <-done; got != "taken\n<nil>" {
		t.Errorf("got %q", got)
	}
}

func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]int{
		1: 500, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
	} {
		if got := int(httpStatus(codesOf(code))); got != want {
			t.Errorf("code %d: HTTP %d, want %d", code, got, want)
		}
	}
}

func codesOf(n int) codes.Code { return codes.Code(n) }
