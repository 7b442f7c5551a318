package status

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// bucket is what is asked of a side of the bus.
type bucket interface {
	State() bus.State
	Restore(ctx context.Context) (objects int, err error)
}

// Sources of the answers that are not about proxies.
type Sources struct {
	Config, Registry bucket
	// Files lists what is wrong with files of watched folders.
	Files func() []*pilotv1.Problem
}

// Service implements pilotv1.StatusServiceServer.
type Service struct {
	pilotv1.UnimplementedStatusServiceServer
	table *Table
	sets  sets
	from  Sources
}

// NewService returns the service over table and the sources.
func NewService(table *Table, s sets, from Sources) *Service {
	return &Service{table: table, sets: s, from: from}
}

// GetStatus implements pilotv1.StatusServiceServer.
func (s *Service) GetStatus(context.Context, *pilotv1.GetStatusRequest) (*pilotv1.GetStatusResponse, error) {
	proxies, _ := s.table.Proxies()
	config, registry := s.from.Config.State(), s.from.Registry.State()
	out := &pilotv1.GetStatusResponse{
		Bus: &pilotv1.BusStatus{
			Connected: config.Connected && registry.Connected, Refused: firstOf(config.Refused, registry.Refused),
			ConfigRevision: config.Revision, RegistryRevision: registry.Revision,
		},
		FileProblems: s.from.Files(),
	}
	for _, p := range proxies {
		out.Proxies = append(out.Proxies, &pilotv1.ProxyStatus{
			Name: p.Name, Address: p.Address, Id: p.ID, Role: p.Role, Acknowledged: p.Acknowledged, Protocol: p.Protocol,
			ConnectedAt: timestamppb.New(p.ConnectedAt), Refused: refusals(p.Name, p.Refused), EnvoyVersion: p.EnvoyVersion,
		})
	}
	set := s.sets.Current()
	if set == nil {
		return out, nil
	}
	snap := set.Snapshot
	away := absent(proxies, snap)
	proxies = append(proxies, away...)
	out.Revision = snap.Revision
	out.Services, out.Workloads = uint32(len(snap.Services)), uint32(len(snap.Workloads)) //nolint:gosec // counts
	for _, o := range snap.Objects {
		st := objectStatus(o, proxies)
		if _, behind := snap.Behind[model.RefOf(o)]; behind {
			st.Live = 0 // what proxies have is an earlier one
		}
		out.Objects = append(out.Objects, st)
	}
	for _, ref := range slices.SortedFunc(maps.Keys(snap.Behind), model.Ref.Compare) {
		out.RegistryProblems = append(out.RegistryProblems, &pilotv1.Problem{
			Object: ref.String(), Message: "not in force, the registry is not up to date: " + snap.Behind[ref]})
	}
	for _, p := range away {
		out.RegistryProblems = append(out.RegistryProblems, &pilotv1.Problem{
			Object: p.Workload.String(), Message: "takes requests, but its proxy is not connected: it keeps what it had"})
	}
	return out, nil
}

func firstOf(texts ...string) string {
	i := slices.IndexFunc(texts, func(s string) bool { return s != "" })
	if i < 0 {
		return ""
	}
	return texts[i]
}

func objectStatus(o *configv1.Object, proxies []Proxy) *pilotv1.ObjectStatus {
	ref, revision := model.RefOf(o), o.GetMetadata().GetRevision()
	l := LivenessOf(proxies, Asked{Refs: []model.Ref{ref}, Revision: revision})
	st := &pilotv1.ObjectStatus{
		Ref:      &configv1.ObjectRef{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name},
		Revision: revision, Origin: o.GetMetadata().GetOrigin(),
		Interested: uint32(l.Interested), Live: uint32(l.Live), //nolint:gosec // counts of proxies
	}
	for _, name := range slices.Sorted(maps.Keys(l.Refused)) {
		st.Refused = append(st.Refused, refusals(name, l.Refused[name])...)
	}
	return st
}

// RestoreBus implements pilotv1.StatusServiceServer.
func (s *Service) RestoreBus(ctx context.Context, _ *pilotv1.RestoreBusRequest) (*pilotv1.RestoreBusResponse, error) {
	out := &pilotv1.RestoreBusResponse{}
	for _, b := range []bucket{s.from.Config, s.from.Registry} {
		if b.State().Refused == "" {
			continue
		}
		n, err := b.Restore(ctx)
		if err != nil {
			return nil, err
		}
		out.Objects += uint64(n) //nolint:gosec // a count
		out.Revision = max(out.Revision, b.State().Revision)
	}
	if out.Objects == 0 {
		return nil, fault.Precondition.Errorf("nothing to restore: the bus is not refused, or nothing is kept")
	}
	return out, nil
}

// GetProxyConfig implements pilotv1.StatusServiceServer.
func (s *Service) GetProxyConfig(_ context.Context, req *pilotv1.GetProxyConfigRequest) (*pilotv1.GetProxyConfigResponse, error) {
	proxies, _ := s.table.Proxies()
	i := slices.IndexFunc(proxies, func(p Proxy) bool { return p.Name == req.GetProxy() })
	if i < 0 {
		return nil, fault.NotFound.Errorf("proxy %q is not connected; status lists those that are", req.GetProxy())
	}
	doc := map[string]map[string]json.RawMessage{}
	if proxies[i].Wants == nil {
		return nil, fault.Unavailable.Errorf("proxy %q was not told anything yet: pilot waits for the bus", req.GetProxy())
	}
	for t, byName := range *proxies[i].Wants {
		url := translate.Type(t).URL() //nolint:gosec // four types
		doc[url] = map[string]json.RawMessage{}
		for name, res := range byName {
			m, err := res.Body.UnmarshalNew()
			if err != nil {
				return nil, fmt.Errorf("resource %q: %w", name, err)
			}
			text, err := protojson.Marshal(m)
			if err != nil {
				return nil, fmt.Errorf("resource %q: %w", name, err)
			}
			doc[url][name] = text
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("proxy %q: %w", req.GetProxy(), err)
	}
	return &pilotv1.GetProxyConfigResponse{Json: string(text)}, nil
}
