// Package server is mixer's gRPC side. In: Check and Report of istio.mixer.v1, the
// ext_authz checks and access logs of Envoy. Out: the same questions in attributes, with
// the facts of the registry laid over, and the verdicts in the words of each protocol.
// It decides nothing about a request itself, only who may speak for which workload.
package server

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	istiomixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/istio/mixer/v1"
	mixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/mixer/v1"
	codepb "google.golang.org/genproto/googleapis/rpc/code"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/limit"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/attr"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

// Access is who may call what, by full method; admin methods are closed by default.
func Access() map[string]rpc.Access {
	return map[string]rpc.Access{
		"/istio.mixer.v1.Mixer/Check":                                   rpc.Mesh,
		"/istio.mixer.v1.Mixer/Report":                                  rpc.Mesh,
		"/envoy.service.auth.v3.Authorization/Check":                    rpc.Mesh,
		"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs": rpc.Mesh,
	}
}

// Register adds all services to r.
func (s *Server) Register(r grpc.ServiceRegistrar, p plans) {
	istiomixerv1.RegisterMixerServer(r, s.Mixer())
	authv3.RegisterAuthorizationServer(r, s.Authorization())
	r.RegisterService(accessLogService(), s.AccessLog())
	mixerv1.RegisterAdminServiceServer(r, s.Admin(p))
}

// engine answers questions in attributes.
type engine interface {
	Check(ctx context.Context, req *attr.Request, class plan.Class) plan.Verdict
	Report(ctx context.Context, req *attr.Request) error
}

// world knows who is who.
type world interface {
	Snapshot() *registry.Snapshot
	Await(ctx context.Context, ok func(*registry.Snapshot) bool) *registry.Snapshot
}

// Server is what the protocols have in common.
type Server struct {
	engine  engine
	world   world
	trusted func(spiffe.ID) bool
	tel     *telemetry.Telemetry

	received   metric.Int64Counter
	reported   metric.Int64Counter
	checkSets  *telemetry.Sets[checked]
	reportSets *telemetry.Sets[sent]
	checks     atomic.Uint64
	reports    atomic.Uint64
	turns      *limit.Turns[host] // of recording
}

// New returns a Server. trusted says which identities may report for any service, as
// gateways and administrators do.
func New(e engine, w world, trusted func(spiffe.ID) bool, tel *telemetry.Telemetry) (*Server, error) {
	s := &Server{
		engine: e, world: w, trusted: trusted, tel: tel,
		checkSets: telemetry.NewSets(checked.attributes), reportSets: telemetry.NewSets(sent.attributes),
		turns: limit.NewTurns[host](turns()),
	}
	var err error
	if s.received, err = tel.Meter.Int64Counter("mixer_checks_received",
		metric.WithDescription("checks, by how they came, class and the proxy that asked")); err != nil {
		return nil, fmt.Errorf("metrics of the server: %w", err)
	}
	if s.reported, err = tel.Meter.Int64Counter("mixer_reports_received",
		metric.WithDescription("reports, by how they came and the proxy that sent them")); err != nil {
		return nil, fmt.Errorf("metrics of the server: %w", err)
	}
	return s, nil
}

// Counts returns how many checks and reports were taken.
func (s *Server) Counts() (checks, reports uint64) { return s.checks.Load(), s.reports.Load() }

func (s *Server) countCheck(ctx context.Context, protocol, class, proxy string) {
	s.checks.Add(1)
	s.received.Add(ctx, 1, s.checkSets.Of(checked{protocol, class, proxy}))
}

func (s *Server) countReports(ctx context.Context, n int, protocol, proxy string) {
	s.reports.Add(uint64(n))
	s.reported.Add(ctx, int64(n), s.reportSets.Of(sent{protocol, proxy}))
}

// checked is by what checks are counted, sent by what reports are.
type checked struct{ protocol, class, proxy string }

type sent struct{ protocol, proxy string }

func (c checked) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("protocol", c.protocol), attribute.String("class", c.class), attribute.String("proxy", c.proxy),
	}
}

func (s sent) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("protocol", s.protocol), attribute.String("proxy", s.proxy)}
}

// peer is who sent a request: the connection's address, and the URI in the certificate.
func peer(bag *attr.Bag) (address netip.Addr, user string) {
	ip, _ := bag.Value("source.ip")
	address, _ = ip.(netip.Addr)
	return address, bag.Text("source.user")
}

// source is what is known of a request's peer. The connection's address and the
// certificate speak; what a request says of itself does not.
func source(snap *registry.Snapshot, bag *attr.Bag) attr.Overlay {
	address, user := peer(bag)
	return sourceOf(snap, address, user)
}

func sourceOf(snap *registry.Snapshot, address netip.Addr, user string) attr.Overlay {
	return attr.Overlay{Values: snap.Source(address, user), Inputs: []string{"source.ip", "source.user"}}
}

// speaksFor finds the workload that a caller claims to be, "<workload>.<namespace>".
// Errors: nobody knows it (yet), its account is not the caller's, or the caller is where
// another workload is, as one of the same account would be.
func (s *Server) speaksFor(snap *registry.Snapshot, caller rpc.Caller, name string) (*registry.Workload, error) {
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return nil, fault.Invalid.Errorf("%q is not <workload>.<namespace>", name)
	}
	w, ok := snap.Named(name[at+1:], name[:at])
	if !ok {
		return nil, fault.Unavailable.Errorf("workload %s is not in the registry", name)
	}
	if !snap.Is(w, caller.ID) && !caller.Local {
		return nil, fault.Denied.Errorf("workload %s does not belong to %s", name, caller)
	}
	if from, err := netip.ParseAddrPort(caller.Address); err == nil && snap.Elsewhere(w, from.Addr()) {
		return nil, fault.Denied.Errorf("workload %s is not at %s, where the call comes from", name, from.Addr())
	}
	return w, nil
}

// proxyName is the workload's name as pilot and the metrics know it.
func proxyName(w *registry.Workload) string { return w.Name + "." + w.Namespace }

// codeName is a code as users see it: "PERMISSION_DENIED".
func codeName(c codes.Code) string { return codepb.Code(c).String() }
