package xds

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	table "github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// feed is a source of sets that the test changes.
type feed struct {
	mu      sync.Mutex
	set     *translate.Set
	changed chan struct{}
}

func (f *feed) Current() *translate.Set { f.mu.Lock(); defer f.mu.Unlock(); return f.set }

func (f *feed) Changed() <-chan struct{} { f.mu.Lock(); defer f.mu.Unlock(); return f.changed }

// put has services, and the workload theirs-1 that account b has registered.
func (f *feed) put(revision uint64, services ...string) {
	in := model.Input{Settings: model.Settings{Domain: "cluster.local", TrustDomain: "cluster.local"}, Revision: revision}
	for _, name := range services {
		in.Registry = append(in.Registry, &configv1.Object{
			Kind: "Service", Metadata: &configv1.Metadata{Name: name, Namespace: "default", Revision: revision},
			Spec: &configv1.Object_Service{Service: &configv1.Service{
				Ports: []*configv1.Port{{Name: "http", Number: 80, Protocol: configv1.Protocol_HTTP}}, Selector: map[string]string{"app": name},
			}},
		})
	}
	in.Registry = append(in.Registry, &configv1.Object{
		Kind: "Workload", Metadata: &configv1.Metadata{Name: "theirs-1", Namespace: "default", Revision: 1},
		Spec: &configv1.Object_Workload{Workload: &configv1.Workload{Address: "10.0.0.2", Account: "b", Lease: durationpb.New(time.Minute)}},
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = translate.NewSet(model.Build(in), translate.Mesh{}, f.set)
	close(f.changed)
	f.changed = make(chan struct{})
}

type caller struct {
	grpc.ServerStream
	ctx context.Context
}

func (c *caller) Context() context.Context { return c.ctx }

// open serves to a caller of account default/a.
func open(t *testing.T) (*feed, *table.Table, discoveryv3.AggregatedDiscoveryServiceClient) {
	t.Helper()
	id, err := spiffe.New("cluster.local", "default", "a")
	if err != nil {
		t.Fatal(err)
	}
	f, tab := &feed{changed: make(chan struct{})}, table.NewTable()
	srv := grpc.NewServer(grpc.StreamInterceptor(func(s any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		err := next(s, &caller{ss, rpc.WithCaller(ss.Context(), rpc.Caller{ID: id, Address: "10.0.0.1:4711"})})
		if err != nil {
			return rpc.Status(err).Err()
		}
		return nil
	}))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, New(Config{}, f, tab, telemetry.Discard()))
	l := bufconn.Listen(1 << 20)
	go srv.Serve(l) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) //nolint:errcheck // end of test
	return f, tab, discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
}

func nodeFor(account, role string) *corev3.Node {
	meta := map[string]*structpb.Value{}
	for k, v := range map[string]string{"NAME": "a-1", "NAMESPACE": "default", "ACCOUNT": account, "ROLE": role} {
		meta[k] = structpb.NewStringValue(v)
	}
	return &corev3.Node{Id: role + "~10.0.0.1~a-1.default~cluster.local", Metadata: &structpb.Struct{Fields: meta}}
}

// named changes the name that a node says.
func named(n *corev3.Node, name string) *corev3.Node {
	n.GetMetadata().GetFields()["NAME"] = structpb.NewStringValue(name)
	return n
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// settled waits until the table's only proxy is as wanted.
func settled(t *testing.T, tab *table.Table, what string, ok func(table.Proxy) bool) {
	t.Helper()
	ctx := deadline(t)
	for {
		ps, changed := tab.Proxies()
		if len(ps) == 1 && ok(ps[0]) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: never; have %+v", what, ps)
		}
	}
}

func TestDelta(t *testing.T) {
	f, tab, client := open(t)
	ss, err := client.DeltaAggregatedResources(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	send := func(r *discoveryv3.DeltaDiscoveryRequest) {
		t.Helper()
		if err := ss.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	recv := func(ty translate.Type, want ...string) *discoveryv3.DeltaDiscoveryResponse {
		t.Helper()
		r, err := ss.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, res := range r.GetResources() {
			got = append(got, res.GetName())
		}
		if r.GetTypeUrl() != ty.URL() || !slices.Equal(got, want) {
			t.Fatalf("got %s %v, want %s %v", r.GetTypeUrl(), got, ty.URL(), want)
		}
		return r
	}
	ack := func(r *discoveryv3.DeltaDiscoveryResponse, subscribe ...string) {
		t.Helper()
		send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ResourceNamesSubscribe: subscribe})
	}
	send(&discoveryv3.DeltaDiscoveryRequest{Node: nodeFor("a", "sidecar"), TypeUrl: translate.Cluster.URL()})
	f.put(7, "x") // the proxy came before pilot knew anything
	const x = "outbound|80||x.default.svc.cluster.local"
	r := recv(translate.Cluster, "blackhole", x)
	if r.GetSystemVersionInfo() != "7" {
		t.Errorf("system version %q, want the revision 7", r.GetSystemVersionInfo())
	}
	ack(r)
	send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: translate.Endpoint.URL(), ResourceNamesSubscribe: []string{x}})
	ack(recv(translate.Endpoint, x))
	send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: translate.Listener.URL()})
	ack(recv(translate.Listener, "0.0.0.0_80", "inbound", "outbound"))
	send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: translate.Route.URL(), ResourceNamesSubscribe: []string{"80@default"}})
	ack(recv(translate.Route, "80@default"))
	settled(t, tab, "revision 7 in force", func(p table.Proxy) bool { return p.Acknowledged == 7 && p.Protocol == "delta" })

	f.put(8, "x", "y")
	r = recv(translate.Cluster, "outbound|80||y.default.svc.cluster.local")
	send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: &spb.Status{Message: "no such thing"}})
	settled(t, tab, "refusal in the proxy's own words", func(p table.Proxy) bool {
		return len(p.Refused) == 1 && p.Refused[0].Message == "no such thing" && p.Acknowledged == 7
	})
}

func TestStateOfTheWorld(t *testing.T) {
	f, tab, client := open(t)
	f.put(7, "x")
	ss, err := client.StreamAggregatedResources(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ty translate.Type, last *discoveryv3.DiscoveryResponse, names ...string) {
		t.Helper()
		if err := ss.Send(&discoveryv3.DiscoveryRequest{
			Node: nodeFor("a", "sidecar"), TypeUrl: ty.URL(), ResourceNames: names,
			VersionInfo: last.GetVersionInfo(), ResponseNonce: last.GetNonce(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	recv := func(ty translate.Type, version string, n int) *discoveryv3.DiscoveryResponse {
		t.Helper()
		r, err := ss.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetTypeUrl() != ty.URL() || r.GetVersionInfo() != version || len(r.GetResources()) != n {
			t.Fatalf("got %s at %s with %d resources, want %s at %s with %d",
				r.GetTypeUrl(), r.GetVersionInfo(), len(r.GetResources()), ty.URL(), version, n)
		}
		return r
	}
	const x, y = "outbound|80||x.default.svc.cluster.local", "outbound|80||y.default.svc.cluster.local"
	ask(translate.Cluster, nil)
	ask(translate.Cluster, recv(translate.Cluster, "7", 2))
	ask(translate.Endpoint, nil, x)
	ask(translate.Endpoint, recv(translate.Endpoint, "7", 1), x)
	ask(translate.Listener, nil)
	ask(translate.Listener, recv(translate.Listener, "7", 3))
	ask(translate.Route, nil, "80@default")
	ask(translate.Route, recv(translate.Route, "7", 1), "80@default")
	settled(t, tab, "revision 7 in force", func(p table.Proxy) bool { return p.Acknowledged == 7 && p.Protocol == "sotw" })

	// What goes is still in the first answer: it is removed when no route needs it.
	f.put(8, "y")
	c := recv(translate.Cluster, "8", 3)
	ask(translate.Endpoint, nil, x, y)
	ask(translate.Endpoint, recv(translate.Endpoint, "8", 1), x, y)
	ask(translate.Cluster, c)
	r := recv(translate.Route, "8", 1)
	ask(translate.Route, r, "80@default")
	settled(t, tab, "revision 8 in force", func(p table.Proxy) bool { return p.Acknowledged == 8 })
}

func TestWhoIsRefused(t *testing.T) {
	f, _, client := open(t)
	f.put(1, "x")
	for name, n := range map[string]*corev3.Node{
		"another account":          nodeFor("b", "sidecar"),
		"a gateway by itself":      nodeFor("a", "ingress"),
		"a role that is not there": nodeFor("a", "king"),
		"nobody":                   {},
		"another's name":           named(nodeFor("a", "sidecar"), "theirs-1"),
		"another's address":        {Id: "sidecar~10.0.0.2~a-1.default~cluster.local", Metadata: nodeFor("a", "sidecar").GetMetadata()},
	} {
		ss, err := client.DeltaAggregatedResources(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := ss.Send(&discoveryv3.DeltaDiscoveryRequest{Node: n, TypeUrl: translate.Cluster.URL()}); err != nil {
			t.Fatal(err)
		}
		_, err = ss.Recv()
		if c := status.Code(err); c != codes.PermissionDenied && c != codes.InvalidArgument {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

// A pilot that has just started does not know yet whose names are taken.
func TestAnothersNameIsRefusedWhenItIsKnown(t *testing.T) {
	f, tab, client := open(t)
	ss, err := client.DeltaAggregatedResources(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	n := named(nodeFor("a", "sidecar"), "theirs-1")
	if err := ss.Send(&discoveryv3.DeltaDiscoveryRequest{Node: n, TypeUrl: translate.Cluster.URL()}); err != nil {
		t.Fatal(err)
	}
	awaitProxies(t, tab, 1)
	f.put(1, "x")
	if res, err := ss.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v, %v, want a refusal", res, err)
	}
	awaitProxies(t, tab, 0)
}

// awaitProxies waits until so many are connected.
func awaitProxies(t *testing.T, tab *table.Table, want int) {
	t.Helper()
	late := deadline(t)
	for {
		got, changed := tab.Proxies()
		if len(got) == want {
			return
		}
		select {
		case <-changed:
		case <-late.Done():
			t.Fatalf("%v are connected, want %d", got, want)
		}
	}
}
