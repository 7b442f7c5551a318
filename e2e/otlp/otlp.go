// Package otlp takes traces as an OpenTelemetry collector does, by gRPC at a Unix
// socket, and keeps them for a test to look at. In: spans of any process. Out: traces as
// trees. It keeps the newest spans up to a limit.
package otlp

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Span is one operation of one process.
type Span struct {
	Trace, ID, Parent string // hexadecimal
	Service           string // resource attribute service.name
	Name              string
	Kind              string // "server", "client", "internal", …
	Start, End        time.Time
	Attributes        map[string]string
}

// maxSpans is how many spans are kept.
const maxSpans = 100_000

// Receiver is a collector. Safe for concurrent use.
type Receiver struct {
	collector.UnimplementedTraceServiceServer
	server *grpc.Server
	ended  chan error // what Serve ended with; capacity 1: it ends once, perhaps before Close

	mu    sync.Mutex
	spans []Span
}

// Listen serves at a Unix socket, where any local user may send, until Close.
func Listen(path string) (*Receiver, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		listener.Close()
		return nil, fmt.Errorf("collector: %w", err)
	}
	r := &Receiver{server: grpc.NewServer(), ended: make(chan error, 1)}
	collector.RegisterTraceServiceServer(r.server, r)
	go func() { r.ended <- r.server.Serve(listener) }()
	return r, nil
}

// Close ends it and removes its socket. It is called once; an error says that the
// receiver had ended before.
func (r *Receiver) Close() error {
	r.server.Stop()
	if err := <-r.ended; err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	return nil
}

// Export takes spans; see the protocol of OpenTelemetry.
func (r *Receiver) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range in.GetResourceSpans() {
		service := attributes(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				r.spans = append(r.spans, convert(service, span))
			}
		}
	}
	if over := len(r.spans) - maxSpans; over > 0 {
		r.spans = slices.Delete(r.spans, 0, over)
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func convert(service string, s *trace.Span) Span {
	return Span{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Service: service, Name: s.GetName(),
		Kind:  strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
		Attributes: attributes(s.GetAttributes()),
	}
}

func attributes(list []*common.KeyValue) map[string]string {
	values := map[string]string{}
	for _, each := range list {
		switch v := each.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			values[each.GetKey()] = v.StringValue
		case nil:
		default:
			values[each.GetKey()] = strings.TrimSpace(each.GetValue().String())
		}
	}
	return values
}

// Trace returns the spans of one trace that have come so far.
func (r *Receiver) Trace(id string) Tree {
	r.mu.Lock()
	defer r.mu.Unlock()
	tree := Tree{}
	for _, span := range r.spans {
		if span.Trace == id {
			tree[span.ID] = span
		}
	}
	return tree
}

// Count is how many spans are kept.
func (r *Receiver) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.spans)
}

// Tree is a trace: its spans by their IDs.
type Tree map[string]Span

// Find returns the spans for which want is true, the earliest first.
func (t Tree) Find(want func(Span) bool) []Span {
	var found []Span
	for _, span := range t {
		if want(span) {
			found = append(found, span)
		}
	}
	slices.SortFunc(found, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return found
}

// Path returns the spans from the root of the trace down to one. The first one has no
// parent in the trace.
func (t Tree) Path(id string) []Span {
	var path []Span
	for span, found := t[id]; found && len(path) <= len(t); span, found = t[span.Parent] {
		path = append(path, span)
	}
	slices.Reverse(path)
	return path
}

// Roots returns the spans whose parents are not in the trace.
func (t Tree) Roots() []Span {
	return t.Find(func(s Span) bool { _, found := t[s.Parent]; return !found })
}

// String draws the trace.
func (t Tree) String() string {
	var text strings.Builder
	for _, root := range t.Roots() {
		t.draw(&text, root, 0)
	}
	return text.String()
}

func (t Tree) draw(text *strings.Builder, span Span, depth int) {
	fmt.Fprintf(text, "%s%s %q (%s) %v\n", strings.Repeat("  ", depth), span.Service, span.Name, span.Kind, span.End.Sub(span.Start))
	if depth > len(t) {
		return // spans that are each other's parents
	}
	for _, child := range t.Find(func(s Span) bool { return s.Parent == span.ID && s.ID != span.ID }) {
		t.draw(text, child, depth+1)
	}
}
