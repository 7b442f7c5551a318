// Package agent is the helper beside one workload's Envoy: gets the workload's
// certificate and gives it to Envoy over SDS, runs Envoy, answers DNS from the mesh's
// names, registers the workload, and tells on loopback how it all is. In: a Config and
// a join token. Out: a sidecar. Requests never pass through it; it must stay below
// 7 MB resident, which is why it has nothing but the standard library.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/footprint"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/names"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/register"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/resolver"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/status"
)

// Run runs the agent and its Envoy until ctx ends; then it takes the workload out of
// the registry, lets Envoy finish, and stops it.
func Run(ctx context.Context, c Config) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	sockets, err := resolver.Inherit()
	if err != nil {
		return err
	}
	s, err := build(c, sockets, log)
	if err != nil {
		return err
	}
	server, err := status.Listen(ctx, c.Status.String(), filepath.Join(c.State, "status.sock"), s, log)
	if err != nil {
		return err
	}
	var g run.Group
	g.Add("footprint", func(ctx context.Context) error { return footprint.Run(ctx, log) })
	g.Add("identity", s.source.Run)
	g.Add("sds", s.proxy.sds.Run)
	g.Add("status", server.Run)
	if s.names != nil {
		g.Add("names", s.certified(s.names.Run))
	}
	if s.resolver != nil {
		g.Add("dns", s.resolver.Run)
	}
	g.Add("envoy", s.certified(s.proxy.process.Run))
	g.Add("watch", s.proxy.watch.Run)
	if s.registration != nil {
		g.Add("workload", s.watchWorkload)
		g.Add("registration", s.certified(s.register))
	}
	return g.Run(ctx)
}

// sidecar is the parts that others ask.
type sidecar struct {
	config       Config
	source       *identity.Source
	proxy        *proxy
	client       *http.Client           // of pilot; nil without its API, as the next four
	names        *names.Source          //
	registration *register.Registration //
	resolver     *resolver.Server       // nil without names or DNS
	app          *application           //
}

func build(c Config, inherited []*os.File, log *slog.Logger) (*sidecar, error) {
	ids, err := c.ids()
	if err != nil {
		return nil, err
	}
	settings := identity.Settings{
		ID: ids.own.String(), Authority: c.CA, AuthorityID: ids.ca.String(), Dir: filepath.Join(c.State, "identity"), TTL: c.TTL,
	}
	s := &sidecar{config: c}
	if s.source, err = settings.Open(log); err != nil {
		return nil, err
	}
	if s.proxy, err = newProxy(c, ids, s.source, log); err != nil {
		return nil, err
	}
	if len(inherited) > 0 && (c.PilotAPI == "" || !c.DNS.IsValid()) {
		return nil, errors.New("inherited sockets: there are none to serve without dns and pilotAPI")
	}
	if c.PilotAPI == "" {
		return s, nil
	}
	s.client = pilotClient(s.source, ids)
	s.names = names.New(names.Config{
		Pilot: c.PilotAPI, File: filepath.Join(c.State, "names.json"), Domain: c.TrustDomain, Namespace: c.Namespace,
	}, s.client, s.source.Changed, log)
	if err := s.names.Load(); err != nil {
		log.Warn("stored names not used", "error", err)
	}
	s.registration = register.New(c.registration(), s.client, log)
	s.app = newApplication(c, log)
	if c.DNS.IsValid() {
		s.resolver, err = resolver.Listen(c.DNS, inherited, s.names.Table, log)
	}
	return s, err
}

// pilotClient calls pilot's REST API. Connections are few and kept: a handshake costs
// more memory than a connection.
func pilotClient(source *identity.Source, ids identities) *http.Client {
	dialer := net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: source.ClientTLS(ids.pilot),
		TLSHandshakeTimeout: 3 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
		MaxIdleConns: 1, IdleConnTimeout: register.Lease,
		ReadBufferSize: 2 << 10, WriteBufferSize: 2 << 10,
	}}
}

func (c Config) registration() register.Config {
	w := register.Workload{Address: c.Address, Labels: c.Labels, Account: c.Account, Ports: map[string]uint16{}}
	for _, p := range c.Ports {
		w.Ports[p.Name] = p.Number
	}
	if c.Region != "" || c.Zone != "" || c.SubZone != "" {
		w.Locality = &register.Locality{Region: c.Region, Zone: c.Zone, SubZone: c.SubZone}
	}
	return register.Config{
		Pilot: c.PilotAPI, Namespace: c.Namespace, Name: c.Name, Workload: w, DrainTime: c.Drain,
	}
}

// certified returns a part that begins when there is a certificate: without one it
// could reach nobody.
func (s *sidecar) certified(part func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if _, err := s.source.Wait(ctx); err != nil {
			return nil //nolint:nilerr // stopped before there was one
		}
		return part(ctx)
	}
}

// register keeps the registry's entry. A newer certificate means a
// newer connection.
func (s *sidecar) register(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.registration.Run(ctx) }()
	for {
		select {
		case <-s.source.Changed():
			s.client.CloseIdleConnections()
		case err := <-done:
			return err
		}
	}
}
