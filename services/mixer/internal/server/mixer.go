package server

import (
	"context"
	"errors"
	"net/netip"

	istiomixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/istio/mixer/v1"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/attr"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

// Mixer serves istio.mixer.v1.
type Mixer struct {
	istiomixerv1.UnimplementedMixerServer
	s *Server
}

// Mixer returns the service.
func (s *Server) Mixer() *Mixer { return &Mixer{s: s} }

// MaxRequest bounds a message in bytes. Proxies send 64 KiB of an access log at a time,
// or one entry, whose headers are no larger; what is decoded takes a hundred times the memory.
const MaxRequest = 1 << 20

// limits of one message, beside the server's limit on its size.
const (
	maxSets   = 10_000
	maxQuotas = 100
)

// Check implements the service. Quotas are not served yet: each one asked for is granted
// in full for 10 s, which is what clients were always told about a quota that nobody
// configured.
func (m *Mixer) Check(ctx context.Context, req *istiomixerv1.CheckRequest) (*istiomixerv1.CheckResponse, error) {
	bag, err := attr.Decode(req.GetAttributes(), req.GetGlobalWordCount())
	if err != nil {
		return nil, fault.Invalid.Errorf("%w", err)
	}
	if len(req.GetQuotas()) > maxQuotas {
		return nil, fault.Invalid.Errorf("%d quotas, at most %d are allowed", len(req.GetQuotas()), maxQuotas)
	}
	caller := rpc.CallerFrom(ctx)
	m.s.countCheck(ctx, "mixer", "", caller.String())
	r := request(m.s.world.Snapshot(), caller, bag)
	v := m.s.engine.Check(ctx, r, plan.All)
	res := &istiomixerv1.CheckResponse{Precondition: &istiomixerv1.CheckResponse_PreconditionResult{
		Status:               &statuspb.Status{Code: int32(v.Code), Message: v.Message},
		ValidDuration:        durationpb.New(v.ValidDuration),
		ValidUseCount:        v.ValidUseCount,
		ReferencedAttributes: attr.EncodeReferenced(r.Referenced(), req.GetGlobalWordCount()),
	}}
	if v.Code != 0 || len(req.GetQuotas()) == 0 {
		return res, nil
	}
	res.Quotas = map[string]*istiomixerv1.CheckResponse_QuotaResult{}
	for name, q := range req.GetQuotas() {
		res.Quotas[name] = &istiomixerv1.CheckResponse_QuotaResult{
			ValidDuration: durationpb.New(unlimited), GrantedAmount: q.GetAmount(),
		}
	}
	return res, nil
}

// Report implements the service. A batch that cannot be read, or that holds one report
// which the caller may not make, is refused as a whole. What then goes wrong in an
// adapter is counted and logged here; a client could do nothing about it.
func (m *Mixer) Report(ctx context.Context, req *istiomixerv1.ReportRequest) (*istiomixerv1.ReportResponse, error) {
	if len(req.GetAttributes()) > maxSets {
		return nil, fault.Invalid.Errorf("%d sets of attributes, at most %d are allowed", len(req.GetAttributes()), maxSets)
	}
	bags, err := attr.DecodeReport(req)
	if err != nil {
		return nil, fault.Invalid.Errorf("%w", err)
	}
	caller := rpc.CallerFrom(ctx)
	snap := m.s.world.Snapshot()
	for _, bag := range bags {
		if err := m.mayReport(snap, caller, bag); err != nil {
			return nil, err
		}
	}
	m.s.countReports(ctx, len(bags), "mixer", caller.String())
	var failed error
	for _, bag := range bags {
		failed = errors.Join(failed, m.s.engine.Report(ctx, request(snap, caller, bag)))
	}
	if failed != nil {
		m.s.tel.Log.Debug("a report was not recorded in full", "error", failed)
	}
	return &istiomixerv1.ReportResponse{}, nil
}

// mayReport: who reports about a service of the mesh is behind it, or is trusted.
func (m *Mixer) mayReport(snap *registry.Snapshot, caller rpc.Caller, bag *attr.Bag) error {
	host := bag.Text("destination.service")
	if _, known := snap.Service(host); !known || caller.Local || m.s.trusted(caller.ID) || snap.Serves(host, caller.ID) {
		return nil
	}
	return fault.Denied.Errorf("%s may not report about %s", caller, host)
}

// request lays the registry's facts over what a client of istio.mixer.v1 sent. The
// destination is the caller, if an address says which of its workloads.
func request(snap *registry.Snapshot, caller rpc.Caller, bag *attr.Bag) *attr.Request {
	overlays := []attr.Overlay{source(snap, bag)}
	v, _ := bag.Value("destination.ip")
	if ip, ok := v.(netip.Addr); ok {
		if w, ok := snap.Peer(ip, caller.ID); ok {
			overlays = append(overlays, attr.Overlay{
				Values: snap.Destination(w, bag.Text("destination.service")),
				Inputs: []string{"destination.ip", "destination.service"},
			})
		}
	}
	return attr.NewRequest(bag, overlays...)
}
