package registry

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// Config is what a Service needs to know.
type Config struct {
	// Self is this pilot's SPIFFE ID.
	Self string
	// AnyAddress lets a workload register an address that it does not call from, as
	// workloads behind a translation of addresses must.
	AnyAddress bool
	// Gateways are the identities of gateways. They serve under their own ports only,
	// and may share an address with each other and with others.
	Gateways []spiffe.ID
}

// Service implements pilotv1.RegistryServiceServer, but for WatchNames.
type Service struct {
	pilotv1.UnimplementedRegistryServiceServer
	cfg   Config
	store *Store
	to    writer
	log   *slog.Logger

	mu    sync.Mutex
	seen  map[bus.Key]time.Time // when an agent's workload was last heard of
	swept time.Time             // when leases were last looked at
}

// NewService returns a service that knows the registry from store and has what is
// registered written by to.
func NewService(cfg Config, store *Store, to writer, log *slog.Logger) *Service {
	return &Service{cfg: cfg, store: store, to: to, log: log, seen: map[bus.Key]time.Time{}}
}

func workloadKey(namespace, name string) bus.Key {
	return bus.Key{Kind: "Workload", Namespace: namespace, Name: name}
}

// RegisterWorkload implements pilotv1.RegistryServiceServer. A renewal that changes
// nothing writes nothing.
func (s *Service) RegisterWorkload(ctx context.Context, req *pilotv1.RegisterWorkloadRequest) (*pilotv1.RegisterWorkloadResponse, error) {
	caller := rpc.CallerFrom(ctx)
	if err := s.check(req, caller); err != nil {
		return nil, err
	}
	key := workloadKey(req.GetNamespace(), req.GetName())
	entries, loaded, _ := s.store.Entries()
	if !loaded {
		return nil, fault.Unavailable.Errorf("register %s: waiting for the bus", key)
	}
	writes, err := admit(key, req.GetWorkload(), entries, s.cfg.Gateways)
	if err != nil {
		return nil, err
	}
	revision := s.store.Revision()
	if len(writes) > 0 {
		if revision, err = s.apply(ctx, writes); err != nil {
			return nil, err
		}
		s.log.Info("workload registered", "workload", key.String(), "address", req.GetWorkload().GetAddress(),
			"state", req.GetWorkload().GetState().String(), telemetry.Peer(caller.String()))
	}
	s.mu.Lock()
	s.seen[key] = time.Now()
	s.mu.Unlock()
	return &pilotv1.RegisterWorkloadResponse{Revision: revision}, nil
}

// check refuses who may not register this, and what cannot be.
func (s *Service) check(req *pilotv1.RegisterWorkloadRequest, caller rpc.Caller) error {
	if err := checkWorkload(req, caller); err != nil {
		return err
	}
	return checkAddress(req.GetWorkload().GetAddress(), caller, s.cfg.AnyAddress)
}

// checkWorkload checks all but the address.
func checkWorkload(req *pilotv1.RegisterWorkloadRequest, caller rpc.Caller) error {
	w := req.GetWorkload()
	switch {
	case !isLabel(req.GetNamespace()) || !isSubdomain(req.GetName()):
		return fault.Invalid.Errorf("workload %q/%q: want DNS-1123 names", req.GetNamespace(), req.GetName())
	case !caller.Admin && (caller.ID.Namespace() != req.GetNamespace() || caller.ID.Account() != w.GetAccount()):
		return fault.Denied.Errorf("%s may not register a workload of account %s/%s", caller, req.GetNamespace(), w.GetAccount())
	case len(w.GetLabels()) > 64 || len(w.GetPorts()) > 64:
		return fault.Invalid.Errorf("workload %s/%s: more than 64 labels or ports", req.GetNamespace(), req.GetName())
	}
	if err := checkSpec(w); err != nil {
		return fault.Invalid.Errorf("workload %s/%s: %w", req.GetNamespace(), req.GetName(), err)
	}
	return nil
}

// checkAddress wants an address that others can reach; unless any will do, or an
// administrator asks, it must be the caller's own.
func checkAddress(address string, caller rpc.Caller, anyAddress bool) error {
	a, err := netip.ParseAddr(address)
	if err != nil || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
		return fault.Invalid.Errorf("address %q: want an IP address that others can reach", address)
	}
	if host, _, err := net.SplitHostPort(caller.Address); !anyAddress && !caller.Admin && (err != nil || host != a.String()) {
		return fault.Denied.Errorf("address %s: the call comes from %s, want it from the address itself", a, caller.Address)
	}
	return nil
}

// admit returns the writes of a registration, none if nothing changes. An address has
// one workload: an older one of the same account makes room, of another is in the way
// until its lease ends, unless one of the two is a gateway.
func admit(key bus.Key, w *configv1.Workload, entries []bus.Entry, gateways []spiffe.ID) ([]bus.Write, error) {
	next := &configv1.Object{
		Kind: key.Kind, ApiVersion: "outrigger.dev/v1", Metadata: &configv1.Metadata{Name: key.Name, Namespace: key.Namespace},
		Spec: &configv1.Object_Workload{Workload: w},
	}
	write := bus.Write{Envelope: &busv1.Envelope{Object: next, Origin: originAgent}}
	writes := []bus.Write{write}
	for _, e := range entries {
		old := e.Envelope.GetObject().GetWorkload()
		same := e.Key == key
		switch {
		case old == nil, !same && old.GetAddress() != w.GetAddress():
			continue
		case !same && !sameAccount(key, w, e) && (among(gateways, key, w) || among(gateways, e.Key, old)):
			continue
		case e.Envelope.GetOrigin() != originAgent:
			return nil, fault.Conflict.Errorf("register %s: %s is there from %s", key, e.Key, e.Envelope.GetOrigin())
		case !sameAccount(key, w, e):
			return nil, fault.Conflict.Errorf("register %s: %s of another account holds its name or address until its lease ends", key, e.Key)
		case same && proto.Equal(e.Envelope.GetObject(), next):
			return nil, nil
		case same:
			writes[0].BasedOn = e.Seq
		default:
			writes = append(writes, deletion(e))
		}
	}
	return writes, nil
}

func sameAccount(key bus.Key, w *configv1.Workload, e bus.Entry) bool {
	return e.Envelope.GetObject().GetWorkload().GetAccount() == w.GetAccount() && e.Key.Namespace == key.Namespace
}

// among reports whether the account of w is one of ids.
func among(ids []spiffe.ID, key bus.Key, w *configv1.Workload) bool {
	return slices.ContainsFunc(ids, func(id spiffe.ID) bool {
		return id.Namespace() == key.Namespace && id.Account() == w.GetAccount()
	})
}

func deletion(e bus.Entry) bus.Write {
	return bus.Write{Envelope: &busv1.Envelope{Object: e.Envelope.GetObject(), Origin: e.Envelope.GetOrigin(), Deleted: true}, BasedOn: e.Seq}
}

func (s *Service) apply(ctx context.Context, writes []bus.Write) (uint64, error) {
	for _, w := range writes {
		w.Envelope.Writer, w.Envelope.AcceptedAt = s.cfg.Self, timestamppb.Now()
	}
	return s.to.Apply(ctx, writes)
}

// DeregisterWorkload implements pilotv1.RegistryServiceServer.
func (s *Service) DeregisterWorkload(ctx context.Context, req *pilotv1.DeregisterWorkloadRequest) (*pilotv1.DeregisterWorkloadResponse, error) {
	caller := rpc.CallerFrom(ctx)
	key := workloadKey(req.GetNamespace(), req.GetName())
	e, ok := s.store.Get(key)
	if !ok {
		return nil, fault.NotFound.Errorf("%s is not registered", key)
	}
	w := e.Envelope.GetObject().GetWorkload()
	if !caller.Admin && (caller.ID.Namespace() != key.Namespace || caller.ID.Account() != w.GetAccount()) {
		return nil, fault.Denied.Errorf("%s may not deregister %s of account %q", caller, key, w.GetAccount())
	}
	if err := checkAddress(w.GetAddress(), caller, s.cfg.AnyAddress); err != nil {
		return nil, err
	}
	if e.Envelope.GetOrigin() != originAgent {
		return nil, fault.Precondition.Errorf("%s comes from %s; change it there", key, e.Envelope.GetOrigin())
	}
	revision, err := s.apply(ctx, []bus.Write{deletion(e)})
	if err != nil {
		return nil, err
	}
	s.log.Info("workload deregistered", "workload", key.String(), telemetry.Peer(caller.String()))
	return &pilotv1.DeregisterWorkloadResponse{Revision: revision}, nil
}

// ListRegistry implements pilotv1.RegistryServiceServer.
func (s *Service) ListRegistry(context.Context, *pilotv1.ListRegistryRequest) (*pilotv1.ListRegistryResponse, error) {
	entries, loaded, _ := s.store.Entries()
	if !loaded {
		return nil, fault.Unavailable.Errorf("registry: waiting for the bus")
	}
	out := &pilotv1.ListRegistryResponse{Revision: s.store.Revision()}
	for _, e := range entries {
		out.Objects = append(out.Objects, e.Envelope.GetObject())
	}
	return out, nil
}
