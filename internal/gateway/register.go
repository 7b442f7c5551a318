package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

const (
	// lease is how long an entry holds; it is renewed three times as often.
	lease   = 30 * time.Second
	renewal = 10 * time.Second
	// callLimit bounds a call of pilot, leaveLimit the last one.
	callLimit  = 3 * time.Second
	leaveLimit = time.Second
	// firstPause doubles to lastPause while pilot does not take the entry.
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
)

// registration keeps the gateway's entry in the registry, by which others know whose
// requests come from its address. Nothing waits for it: a gateway without an entry
// carries requests as well.
type registration struct {
	pilot  envoy.Upstream
	node   envoy.Node
	source *identity.Source
	proxy  *proxy
	log    *slog.Logger
	failed int    // calls in a row
	said   string // last error that was logged
}

func newRegistration(set checked, p *proxy, log *slog.Logger) *registration {
	return &registration{pilot: set.bootstrap.Pilot, node: set.bootstrap.Node, source: p.source, proxy: p, log: log}
}

// run keeps the entry until ctx ends, then takes it away. Each certificate has a
// connection of its own.
func (r *registration) run(ctx context.Context) error {
	if _, err := r.source.Wait(ctx); err != nil || !r.pilot.Address.IsValid() {
		<-ctx.Done()
		return nil //nolint:nilerr // stopped before there was a certificate
	}
	for ctx.Err() == nil {
		changed := r.source.Changed()
		conn, err := rpc.Dial(r.pilot.Address.String(), r.source.ClientTLS(r.pilot.ID))
		if err != nil {
			return fmt.Errorf("registration: %w", err)
		}
		r.keep(ctx, pilotv1.NewRegistryServiceClient(conn), changed)
		r.hangUp(conn)
	}
	return nil
}

// keep renews the entry until there is a newer certificate, or removes it when ctx
// ends. Before anything is known of an Envoy that was taken over, the entry stays as the
// process before us left it.
func (r *registration) keep(ctx context.Context, pilot pilotv1.RegistryServiceClient, newer <-chan struct{}) {
	for pause := time.Duration(0); ; {
		moved := r.proxy.watch.Changed()
		if r.proxy.watch.Known() || r.proxy.draining.Load() {
			pause = r.next(r.put(ctx, pilot), pause)
		} else {
			pause = renewal // moved comes first
		}
		select {
		case <-ctx.Done():
			r.leave(context.WithoutCancel(ctx), pilot)
			return
		case <-newer:
			return
		case <-moved:
		case <-r.proxy.turned:
		case <-time.After(pause):
		}
	}
}

// next returns when to call again: a third of the lease later with jitter, or soon
// after an error.
func (r *registration) next(err error, last time.Duration) time.Duration {
	if err == nil {
		return renewal - rand.N(renewal/5)
	}
	if last < firstPause || last > lastPause {
		return firstPause
	}
	return min(2*last, lastPause)
}

func (r *registration) put(ctx context.Context, pilot pilotv1.RegistryServiceClient) error {
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	_, err := pilot.RegisterWorkload(call, &pilotv1.RegisterWorkloadRequest{
		Namespace: r.node.Namespace, Name: r.node.Workload, Workload: r.workload(),
	}, grpc.WaitForReady(true))
	r.note(ctx, err)
	return err
}

// note logs an error once, and not the first in a row: pilot may not have read back yet
// what it has just written.
func (r *registration) note(ctx context.Context, err error) {
	if err == nil {
		r.failed, r.said = 0, ""
		return
	}
	r.failed++
	if r.failed > 1 && r.said != err.Error() && ctx.Err() == nil {
		r.said = err.Error()
		r.log.Warn("not registered", "error", err)
	}
}

// workload is the entry. Without ports: a gateway stands for no service. Its role is
// its label "app" unless the settings say another.
func (r *registration) workload() *configv1.Workload {
	labels := map[string]string{"app": string(r.node.Role)}
	maps.Copy(labels, r.node.Labels)
	w := &configv1.Workload{
		Address: r.node.Address.String(), Labels: labels, Account: r.node.Account,
		State: configv1.Workload_NOT_READY, Lease: durationpb.New(lease),
	}
	if r.node.Region != "" || r.node.Zone != "" || r.node.SubZone != "" {
		w.Locality = &configv1.Locality{Region: r.node.Region, Zone: r.node.Zone, SubZone: r.node.SubZone}
	}
	if r.proxy.ready() == nil {
		w.State = configv1.Workload_READY
	}
	if r.proxy.draining.Load() {
		w.State = configv1.Workload_DRAINING
	}
	return w
}

// leave takes the entry away. Without pilot it ends with its lease.
func (r *registration) leave(ctx context.Context, pilot pilotv1.RegistryServiceClient) {
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	_, err := pilot.DeregisterWorkload(ctx, &pilotv1.DeregisterWorkloadRequest{Namespace: r.node.Namespace, Name: r.node.Workload})
	if err != nil {
		r.log.Warn("registry entry is left to its lease", "error", err)
	}
}

func (r *registration) hangUp(conn *grpc.ClientConn) {
	if err := conn.Close(); err != nil {
		r.log.Debug("connection to pilot", "error", err)
	}
}
