package server

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/prometheus"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/dispatch"
)

// entriesPerMessage is how many access log entries a busy proxy sends at once.
const entriesPerMessage = 20

// served is a mixer as it runs, but for the bus: its documents are those of
// testdata/bench.yaml.
type served struct {
	*mesh
	server *Server
	sock   string
}

// newServed runs a mixer on a Unix socket with the telemetry of production.
func newServed(b *testing.B) *served {
	b.Helper()
	cfg := telemetry.DefaultConfig()
	cfg.LogLevel = "error"
	tel, err := telemetry.New(cfg, "mixer")
	if err != nil {
		b.Fatal(err)
	}
	d, err := dispatch.New(tel)
	if err != nil {
		b.Fatal(err)
	}
	m := &mesh{t: b, world: dispatch.NewWorld(), exporter: prometheus.New("", tel.Log)}
	s, err := New(d, m.world, func(spiffe.ID) bool { return false }, tel)
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "mixer") // b.TempDir's paths are too long for sockets
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	r, err := rpc.NewServer("mixer", rpc.Config{Sockets: dir}, nil, Access(), tel)
	if err != nil {
		b.Fatal(err)
	}
	s.Register(r.GRPC(), d)
	runs(b, d.Run)
	runs(b, r.Run)
	documents, err := os.ReadFile("testdata/bench.yaml")
	if err != nil {
		b.Fatal(err)
	}
	m.load(d, documents)
	return &served{m, s, filepath.Join(dir, "mixer.grpc.sock")}
}

// runs keeps a part running until the benchmark ends.
func runs(b *testing.B, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

func (s *served) dial() *grpc.ClientConn {
	conn, err := rpc.DialSocket(s.sock, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// processor reports the processor time of the whole process for each of n operations:
// waiting costs nothing, and neither does what else the machine does.
func processor(b *testing.B, begun time.Duration, n int) {
	b.ReportMetric(float64(spent(b)-begun)/float64(n), "cpu-ns/op")
}

func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// asked is a request as the proxy of ratings tells of it.
func asked() envoyRequest {
	return envoyRequest{
		Class: "allow", Proxy: "ratings-v1.default", Service: "ratings.default.svc.cluster.local",
		Source: "10.77.1.2", Principal: "spiffe://cluster.local/ns/default/sa/bookinfo-reviews", Destination: "10.77.1.4",
		Path: "/ratings/0", Code: 200,
		Headers: map[string]string{
			":authority": "ratings:9080", ":path": "/ratings/0", ":method": "GET", ":scheme": "http",
			"accept": "application/json", "user-agent": "Go-http-client/1.1", "accept-encoding": "gzip",
			"x-forwarded-proto": "http", "x-request-id": "4f3e1a5c-98d0-4f4e-8a1f-2b7c8d9e0f11", "x-envoy-expected-rq-timeout-ms": "15000",
			"x-forwarded-client-cert": "By=spiffe://cluster.local/ns/default/sa/bookinfo-ratings;Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688;URI=spiffe://cluster.local/ns/default/sa/bookinfo-reviews",
		},
	}
}

// BenchmarkCheck: a proxy's check that a list of versions answers, the client's part
// included.
func BenchmarkCheck(b *testing.B) {
	s := newServed(b)
	client := authv3.NewAuthorizationClient(s.dial())
	req := asked().check()
	b.ReportAllocs()
	n, begun := 0, spent(b)
	for b.Loop() {
		res, err := client.Check(b.Context(), req)
		if err != nil || res.GetOkResponse() == nil {
			b.Fatalf("got %v, %v", res, err)
		}
		n++
	}
	processor(b, begun, n)
}

// BenchmarkAuthorization is BenchmarkCheck without gRPC.
func BenchmarkAuthorization(b *testing.B) {
	a := newServed(b).server.Authorization()
	req := asked().check()
	ctx := rpc.WithCaller(b.Context(), rpc.Caller{Local: true})
	b.ReportAllocs()
	for b.Loop() {
		res, err := a.Check(ctx, req)
		if err != nil || res.GetOkResponse() == nil {
			b.Fatalf("got %v, %v", res, err)
		}
	}
}

// BenchmarkLog: an access log of messages with entriesPerMessage entries that a counter
// counts, the client's part included. One operation is one entry.
func BenchmarkLog(b *testing.B) {
	s := newServed(b)
	client := alsv3.NewAccessLogServiceClient(s.dial())
	msg := &alsv3.StreamAccessLogsMessage{
		Identifier: &alsv3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: "sidecar~10.77.1.4~ratings-v1.default~cluster.local"}, LogName: LogName},
		LogEntries: &alsv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &alsv3.StreamAccessLogsMessage_HTTPAccessLogEntries{}},
	}
	for range entriesPerMessage {
		msg.GetHttpLogs().LogEntry = append(msg.GetHttpLogs().GetLogEntry(), asked().entry())
	}
	stream, err := client.StreamAccessLogs(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	begun := spent(b)
	for range b.N/entriesPerMessage + 1 {
		if err := stream.Send(msg); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		b.Fatal(err)
	}
	processor(b, begun, b.N)
	if _, reports := s.server.Counts(); reports < uint64(b.N) {
		b.Fatalf("%d entries were taken, want %d", reports, b.N)
	}
}

// BenchmarkEntry is BenchmarkLog without gRPC.
func BenchmarkEntry(b *testing.B) {
	s := newServed(b)
	snap := s.world.Snapshot()
	w, ok := snap.Named("default", "ratings-v1")
	if !ok {
		b.Fatal("ratings-v1 is not in the registry")
	}
	e, err := proto.Marshal(asked().entry())
	if err != nil {
		b.Fatal(err)
	}
	l := s.server.AccessLog()
	b.ReportAllocs()
	for b.Loop() {
		l.take(b.Context(), w, [][]byte{e}, 0)
	}
}
