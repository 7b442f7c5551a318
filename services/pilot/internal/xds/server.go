// Package xds carries pilot's answers to proxies: the aggregated discovery service,
// state of the world and delta. In: streams of proxies that prove who they are, and the
// newest set. Out: what package stream decides, and what each proxy made of it. It
// decides nothing itself.
package xds

import (
	"context"
	"log/slog"
	"net"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/stream"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// sets is where the newest set comes from.
type sets interface {
	Current() *translate.Set
	Changed() <-chan struct{}
}

// Config is what a Server needs to know.
type Config struct {
	// Gateways are the identities that may be a gateway of a role.
	Gateways map[translate.Role]spiffe.ID
	// Trace is set if proxies have a trace collector.
	Trace bool
	// AnyAddress lets a sidecar call from an address that is not its node's.
	AnyAddress bool
}

// Server implements AggregatedDiscoveryService.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	cfg   Config
	sets  sets
	table *status.Table
	stats *stats
	log   *slog.Logger
}

// New returns a server that gives out what is in sets and notes in table what proxies
// make of it.
func New(cfg Config, from sets, table *status.Table, tel *telemetry.Telemetry) *Server {
	return &Server{cfg: cfg, sets: from, table: table, stats: newStats(tel), log: tel.Log}
}

// wire is one stream in either protocol.
type wire interface {
	// recv blocks for the next request.
	recv() (message, error)
	send(stream.Response) error
	protocol() string
}

// serve runs one stream to its end.
func (s *Server) serve(ctx context.Context, w wire) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, ended := receive(ctx, w)
	var c *conn
	defer func() { c.close() }()
	var wake <-chan time.Time
	for {
		changed := s.sets.Changed()
		if c != nil {
			set := s.sets.Current()
			if err := c.named(set); err != nil {
				return c.refused(ctx, err)
			}
			var err error
			if wake, err = c.push(ctx, set); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			s.log.Debug("stream ended", "reason", err)
			return nil
		case <-changed:
		case <-wake:
		case m := <-in:
			if c == nil {
				var err error
				if c, err = s.connect(ctx, w, m.node); err != nil {
					return err
				}
			}
			if err := c.handle(m); err != nil {
				return c.refused(ctx, err)
			}
		}
	}
}

// message is one request and who sent it.
type message struct {
	node node
	req  stream.Request
	// known is false for a type that is not ours.
	known bool
	// bad says why the proxy may not ask for this.
	bad error
}

// receive hands requests on until ctx ends, or until none comes any more: then ended
// tells why.
func receive(ctx context.Context, w wire) (in <-chan message, ended <-chan error) {
	messages := make(chan message) // unbuffered: Envoy's flow control is the queue
	end := make(chan error, 1)     // capacity 1: the stream ends once, perhaps with nobody waiting
	go func() {
		for {
			m, err := w.recv()
			if err != nil {
				end <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	return messages, end
}

// connect checks that the proxy is who it says: its node must be of the namespace and
// account in its certificate, and a sidecar's at the address that it calls from.
func (s *Server) connect(ctx context.Context, w wire, n node) (*conn, error) {
	caller := rpc.CallerFrom(ctx)
	id := caller.ID
	c := &conn{
		server: s, wire: w, node: n, id: id,
		machine: stream.New(stream.Config{Announce: n.role != translate.Sidecar, Delta: w.protocol() == "delta"}),
		info: status.Proxy{
			Name: n.name + "." + n.namespace, Address: n.address, ID: id.String(), Role: string(n.role),
			Workload: model.Ref{Kind: "Workload", Namespace: n.namespace, Name: n.name},
			Protocol: w.protocol(), EnvoyVersion: n.version, ConnectedAt: time.Now(),
		},
	}
	err := n.fits()
	if err == nil {
		err = s.admit(n, caller)
	}
	if err == nil {
		err = c.named(s.sets.Current())
	}
	if err != nil {
		return nil, c.refused(ctx, err)
	}
	c.handleID = s.table.Connect(c.info)
	s.stats.connected(ctx, 1)
	s.log.Info("proxy connected", telemetry.Proxy(c.info.Name), telemetry.Peer(id.String()), "role", n.role, "protocol", w.protocol())
	return c, nil
}

func (s *Server) admit(n node, caller rpc.Caller) error {
	id := caller.ID
	switch {
	case n.name == "" || n.namespace == "":
		return fault.Invalid.Errorf("node metadata: NAME and NAMESPACE are needed")
	case n.namespace != id.Namespace() || n.account != id.Account():
		return fault.Denied.Errorf("node says it is of account %s/%s, its certificate is of %s", n.namespace, n.account, id)
	case n.role == translate.Sidecar:
		return s.admitSidecar(n, caller)
	case s.cfg.Gateways[n.role] != id || id.IsZero():
		return fault.Denied.Errorf("%s may not be a gateway of role %q", id, n.role)
	}
	return nil
}

// admitSidecar refuses a place where the caller is not: who waits for proxies would look
// for it there.
func (s *Server) admitSidecar(n node, caller rpc.Caller) error {
	if host, _, err := net.SplitHostPort(caller.Address); !s.cfg.AnyAddress && (err != nil || host != n.address) {
		return fault.Denied.Errorf("node says it is at %s, and calls from %s", n.address, caller.Address)
	}
	return nil
}

// named refuses the name of a workload that another account has registered, be it after the
// proxy connected: who waits for that one's proxies would wait for this one.
func (c *conn) named(set *translate.Set) error {
	if set == nil || c.node.role != translate.Sidecar {
		return nil
	}
	ref := model.Ref{Kind: "Workload", Namespace: c.node.namespace, Name: c.node.name}
	if w := set.Snapshot.Workloads[ref]; w != nil && w.Leased && w.Account != c.id {
		return fault.Denied.Errorf("%s is registered by %s, the node's certificate is of %s", ref, w.Account, c.id)
	}
	return nil
}

// refused counts and logs that the proxy is not served, and returns why.
func (c *conn) refused(ctx context.Context, err error) error {
	c.server.stats.refused(ctx)
	c.server.log.Warn("proxy refused", telemetry.Proxy(cut(c.node.name, maxField)), telemetry.Peer(c.id.String()), "error", err)
	return err
}

// facts are what the translation may know of the proxy: what the registry says of its
// workload, if that runs as the account that the proxy proved, else what the node says.
func (c *conn) facts(set *translate.Set) translate.Proxy {
	n := c.node
	p := translate.Proxy{Role: n.role, ListenAddress: n.listenAddress, ListenPort: n.listenPort, Traces: c.server.cfg.Trace}
	ref := model.Ref{Kind: "Workload", Namespace: n.namespace, Name: n.name}
	if w := set.Snapshot.Workloads[ref]; w != nil && w.Account == c.id && n.role == translate.Sidecar {
		p.Workload = w
		return p
	}
	p.Workload = &model.Workload{Ref: ref, Address: n.address, Labels: n.labels, Account: c.id}
	return p
}
