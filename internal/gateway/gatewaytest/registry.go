package gatewaytest

import (
	"context"
	"fmt"
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
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// registry notes who is registered and with which certificates.
type registry struct {
	pilotv1.UnimplementedRegistryServiceServer

	mu      sync.Mutex
	entries map[string]*configv1.Workload // "<namespace>/<name> by <SPIFFE ID>"
	serials map[string]bool               // of the certificates that called
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
	program.Stop(syscall.SIGTERM)
	wait("no entry after the end", nil)
}
