package xds

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	table "github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
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
