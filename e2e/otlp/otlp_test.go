package otlp

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func spans(service string, list ...*trace.Span) *trace.ResourceSpans {
	return &trace.ResourceSpans{
		Resource:   &resource.Resource{Attributes: []*common.KeyValue{text("service.name", service)}},
		ScopeSpans: []*trace.ScopeSpans{{Spans: list}},
	}
}

func TestSpansOfSeveralProcessesBecomeOneTree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "otlp.sock")
	r, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id := []byte("0123456789abcdef")
	span := func(own, parent, name string) *trace.Span {
		return &trace.Span{TraceId: id, SpanId: []byte(own), ParentSpanId: []byte(parent), Name: name, Kind: trace.Span_SPAN_KIND_SERVER}
	}
	_, err = collector.NewTraceServiceClient(conn).Export(t.Context(), &collector.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{
		spans("reviews", span("cccccccc", "bbbbbbbb", "get reviews")),
		spans("ingress", span("aaaaaaaa", "", "get page")),
		spans("productpage", span("bbbbbbbb", "aaaaaaaa", "get page")),
	}})
	if err != nil {
		t.Fatal(err)
	}
	tree := r.Trace("30313233343536373839616263646566")
	var path1 []string
	for _, s := range tree.Path("6363636363636363") {
		path1 = append(path1, s.Service)
	}
	if diff := cmp.Diff([]string{"ingress", "productpage", "reviews"}, path1); diff != "" {
		t.Errorf("path to the innermost span (-want +got):\n%s\n%s", diff, tree)
	}
	if roots := tree.Roots(); len(roots) != 1 || roots[0].Kind != "server" {
		t.Errorf("roots: %v, want one server span", roots)
	}
}
