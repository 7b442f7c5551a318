package gatewaytest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/internal/envoy/envoytest"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// registry notes who is registered and with which certificates.
type registry struct {
	pilotv1.UnimplementedRegistryServiceServer

	mu      sync.Mutex
	entries map[string]*configv1.Workload // "<namespace>/<name> by <SPIFFE ID>"
	serials map[string]bool               // of the certificates that called
	states  []configv1.Workload_State     // that were told, repetitions left out
}

func newRegistry(p *envoytest.Pilot) *registry {
	r := &registry{entries: map[string]*configv1.Workload{}, serials: map[string]bool{}}
	s := grpc.NewServer()
	pilotv1.RegisterRegistryServiceServer(s, r)
	p.Handle("/"+pilotv1.RegistryService_ServiceDesc.ServiceName+"/", s)
	return r
}

func (r *registry) key(ctx context.Context, namespace, name string) string {
	p, _ := peer.FromContext(ctx)
	info, _ := p.AuthInfo.(credentials.TLSInfo)
	r.serials[info.State.PeerCertificates[0].SerialNumber.String()] = true
	return namespace + "/" + name + " by " + identity.PeerID(info.State.PeerCertificates).String()
}

func (r *registry) RegisterWorkload(ctx context.Context, req *pilotv1.RegisterWorkloadRequest) (*pilotv1.RegisterWorkloadResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[r.key(ctx, req.GetNamespace(), req.GetName())] = req.GetWorkload()
	if state := req.GetWorkload().GetState(); len(r.states) == 0 || r.states[len(r.states)-1] != state {
		r.states = append(r.states, state)
	}
	return &pilotv1.RegisterWorkloadResponse{}, nil
}

func (r *registry) DeregisterWorkload(ctx context.Context, req *pilotv1.DeregisterWorkloadRequest) (*pilotv1.DeregisterWorkloadResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entries, r.key(ctx, req.GetNamespace(), req.GetName()))
	return &pilotv1.DeregisterWorkloadResponse{}, nil
}

// is reports whether key alone is registered, as want; nil for nobody.
func (r *registry) is(key string, want *configv1.Workload) (bool, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if want == nil {
		return len(r.entries) == 0, fmt.Sprint(r.entries)
	}
	return len(r.entries) == 1 && proto.Equal(r.entries[key], want), fmt.Sprint(r.entries)
}

// told returns the states that were told since the last call, and starts anew.
func (r *registry) told() []configv1.Workload_State {
	r.mu.Lock()
	defer r.mu.Unlock()
	states := r.states
	r.states = nil
	return states
}

func (r *registry) certificates() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.serials)
}

// The entry is there before Envoy is ready, follows its readiness, is renewed by
// renewed certificates, and goes when the gateway does.
func registered(t *testing.T, g *gateway) {
	program := g.start(true)
	name := string(g.role)
	key := system + "/" + name + " by spiffe://cluster.local/ns/" + system + "/sa/" + name
	entry := func(state configv1.Workload_State) *configv1.Workload {
		return &configv1.Workload{
			Address: "127.0.0.1", Account: name, Labels: map[string]string{"app": name}, State: state, Lease: durationpb.New(30 * time.Second),
		}
	}
	wait := func(what string, want *configv1.Workload) {
		t.Helper()
		envoytest.Wait(t, 20*time.Second, what, func() (bool, string) { return g.entries.is(key, want) })
	}
	wait("entry before Envoy is ready", entry(configv1.Workload_NOT_READY))
	g.pilot.Set(g.world(1))
	wait("entry of a gateway that is ready", entry(configv1.Workload_READY))
	before := g.entries.certificates()
	envoytest.Wait(t, 20*time.Second, "renewal by a newer certificate", func() (bool, string) {
		now := g.entries.certificates()
		return now > before, fmt.Sprint(now)
	})
	g.entries.told()
	program.Stop(syscall.SIGTERM)
	wait("no entry after the end", nil)
	if told := g.entries.told(); !slices.Contains(told, configv1.Workload_DRAINING) || slices.Contains(told, configv1.Workload_NOT_READY) {
		t.Errorf("at the end the registry was told %v, want that it drains", told)
	}
}

// The registry never hears that a gateway is not ready from one that takes over a ready
// Envoy, and hears of draining when it begins.
func keptInTheRegistry(t *testing.T, g *gateway) {
	program := g.start(true)
	g.pilot.Set(g.world(1))
	told := func(within time.Duration, want ...configv1.Workload_State) {
		t.Helper()
		var all []configv1.Workload_State
		envoytest.Wait(t, within, fmt.Sprint("registry told ", want), func() (bool, string) {
			all = append(all, g.entries.told()...)
			return slices.Contains(all, want[len(want)-1]), fmt.Sprint(all)
		})
		all = slices.Compact(all)
		if want[0] == configv1.Workload_DRAINING && all[0] == configv1.Workload_READY {
			all = all[1:] // a renewal came before
		}
		if !slices.Equal(all, want) {
			t.Errorf("the registry was told %v, want %v", all, want)
		}
	}
	told(20*time.Second, configv1.Workload_NOT_READY, configv1.Workload_READY)
	for range 3 {
		program.Stop(syscall.SIGKILL)
		g.entries.told()
		program = g.start(false)
		told(20*time.Second, configv1.Workload_READY)
	}
	g.waits("")
	g.entries.told()
	if _, err := g.local().Drain(t.Context(), &gatewayv1.DrainRequest{}); err != nil {
		t.Fatal(err)
	}
	told(renewal/2, configv1.Workload_DRAINING)
}

// renewal is about how often a gateway renews its entry.
const renewal = 10 * time.Second
