package xds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	table "github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/stream"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// script is a stream of default/a on which these requests come, and then nothing.
type script[Req, Res any] struct {
	grpc.ServerStream
	ctx context.Context
	in  []*Req
	// failure of each send; nil for none.
	failure error
}

func (s *script[Req, Res]) Context() context.Context { return s.ctx }

func (s *script[Req, Res]) Send(*Res) error { return s.failure }

func (s *script[Req, Res]) Recv() (*Req, error) {
	if len(s.in) == 0 {
		<-s.ctx.Done()
		return nil, s.ctx.Err()
	}
	r := s.in[0]
	s.in = s.in[1:]
	return r, nil
}

// quiet returns a server that has one service, and what it logs.
func quiet(t *testing.T) (*Server, *table.Table, *bytes.Buffer, context.Context) {
	t.Helper()
	id, err := spiffe.New("cluster.local", "default", "a")
	if err != nil {
		t.Fatal(err)
	}
	f, tab, tel, log := &feed{changed: make(chan struct{})}, table.NewTable(), telemetry.Discard(), &bytes.Buffer{}
	f.put(1, "x")
	tel.Log = slog.New(slog.NewTextHandler(log, nil))
	return New(Config{}, f, tab, tel), tab, log, rpc.WithCaller(deadline(t), rpc.Caller{ID: id, Address: "10.0.0.1:4711"})
}

// delta serves requests of the delta protocol until the stream ends, and returns how
// and what was logged.
func delta(t *testing.T, failure error, in ...*discoveryv3.DeltaDiscoveryRequest) (string, error) {
	t.Helper()
	srv, _, log, ctx := quiet(t)
	err := srv.DeltaAggregatedResources(&script[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]{ctx: ctx, in: in, failure: failure})
	return log.String(), err
}

func sotw(t *testing.T, in ...*discoveryv3.DiscoveryRequest) (string, error) {
	t.Helper()
	srv, _, log, ctx := quiet(t)
	err := srv.StreamAggregatedResources(&script[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]{ctx: ctx, in: in})
	return log.String(), err
}

// Who asks for too much is not served any more, and the log says who and how much.
func TestTooManyNames(t *testing.T) {
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprint("c", i)
	}
	check := func(protocol string, err error, log string) {
		t.Helper()
		if fault.Of(err) != fault.Exhausted || !strings.Contains(err.Error(), "100000 names") {
			t.Errorf("%s: got %v, want exhausted by 100000 names", protocol, err)
		}
		if !strings.Contains(log, "level=WARN") || !strings.Contains(log, "proxy=a-1") || !strings.Contains(log, "100000 names") {
			t.Errorf("%s: log has no warning of a-1 and its 100000 names:\n%s", protocol, log)
		}
	}
	n, url := nodeFor("a", "sidecar"), translate.Endpoint.URL()
	log, err := delta(t, nil, &discoveryv3.DeltaDiscoveryRequest{Node: n, TypeUrl: url, ResourceNamesSubscribe: names})
	check("delta", err, log)
	log, err = sotw(t, &discoveryv3.DiscoveryRequest{Node: n, TypeUrl: url, ResourceNames: names})
	check("sotw", err, log)
	log, err = sotw(t, &discoveryv3.DiscoveryRequest{Node: n, TypeUrl: url}, &discoveryv3.DiscoveryRequest{TypeUrl: url, ResourceNames: names})
	check("sotw, later", err, log)
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 4, ""},
		{"abcd", 4, "abcd"},
		{"abcde", 4, "abcd … (cut, it has 5 bytes)"},
		{"abcö", 5, "abcö"},
		{"abcöx", 4, "abc … (cut, it has 6 bytes)"},
		{"ab€€", 4, "ab … (cut, it has 8 bytes)"},
		{"\x80\x80\x80", 2, " … (cut, it has 3 bytes)"},
	} {
		if got := cut(c.text, c.limit); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.limit, got, c.want)
		}
	}
}

func TestRefusalsAreShort(t *testing.T) {
	long := strings.Repeat("x", 500_000)
	got := refusal(long, true)
	if len(got) > maxRefusal+64 || !strings.HasSuffix(got, "(cut, it has 500000 bytes)") {
		t.Errorf("a refusal of 500,000 bytes: got %d bytes that end with %q, want about %d that say that they were cut", len(got), got[max(0, len(got)-40):], maxRefusal)
	}
	const few = "no such filter"
	names := make([]string, 2000)
	rows := refusalsOf([]stream.Refusal{{Names: names, Message: got}, {Names: names, Message: few}})
	size := 0
	for _, r := range rows[:len(names)] {
		size += len(r.Message)
	}
	if most := wholeRefusals*(maxRefusal+64) + len(names)*(maxShort+64); len(rows) != 2*len(names) || size > most {
		t.Errorf("%d rows, texts of the first %d: %d bytes, want %d rows and at most %d bytes", len(rows), len(names), size, 2*len(names), most)
	}
	if first, last := rows[0].Message, rows[len(rows)-1].Message; first != got || last != few {
		t.Errorf("the first has %d bytes, want the %d; the last says %q, want %q", len(first), len(got), last, few)
	}
}

// A text that does not fit is neither in the error nor in the log nor in the table.
func TestLongNodes(t *testing.T) {
	long := strings.Repeat("x", 500_000)
	with := func(key string, v *structpb.Value) *corev3.Node {
		n := nodeFor("a", "sidecar")
		n.GetMetadata().GetFields()[key] = v
		return n
	}
	text := structpb.NewStringValue(long)
	elsewhere := nodeFor("a", "sidecar")
	elsewhere.Id = "sidecar~" + long + "~a-1.default~cluster.local"
	for name, n := range map[string]*corev3.Node{
		"NAME": with("NAME", text), "NAMESPACE": with("NAMESPACE", text), "ACCOUNT": with("ACCOUNT", text),
		"ROLE": with("ROLE", text), "LISTEN_ADDRESS": with("LISTEN_ADDRESS", text), "the address in its id": elsewhere,
		"LABELS": with("LABELS", structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"app": text}})),
	} {
		log, err := delta(t, nil, &discoveryv3.DeltaDiscoveryRequest{Node: n, TypeUrl: translate.Cluster.URL()})
		if fault.Of(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), name+" ha") || len(fmt.Sprint(err)) > 200 {
			t.Errorf("%s: got %.200v, want it refused as too long, in short", name, err)
		}
		if !strings.Contains(log, "proxy refused") || len(log) > 1000 {
			t.Errorf("%s: the log has %d bytes, want a short line of the refusal: %.300s", name, len(log), log)
		}
	}
}

// A response that cannot go out is looked for in the log, by the proxy and the error.
func TestAFailedSendIsLogged(t *testing.T) {
	failure := errors.New("trying to send message larger than max")
	log, err := delta(t, failure, &discoveryv3.DeltaDiscoveryRequest{Node: nodeFor("a", "sidecar"), TypeUrl: translate.Cluster.URL()})
	if !errors.Is(err, failure) {
		t.Errorf("got %v, want %v", err, failure)
	}
	for _, want := range []string{"level=WARN", "proxy=a-1.default", failure.Error()} {
		if !strings.Contains(log, want) {
			t.Errorf("log has no %q:\n%s", want, log)
		}
	}
}
