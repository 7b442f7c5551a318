package agent

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/identity"
)

// stopTime is how long Envoy may take from SIGTERM to its end.
const stopTime = 3 * time.Second

// proxy is the workload's Envoy with what it needs from us.
type proxy struct {
	source  *identity.Source
	sds     *envoy.SDS
	process *envoy.Process
	watch   *envoy.Watch
}

func newProxy(c Config, ids identities, source *identity.Source, log *slog.Logger) (*proxy, error) {
	dir := filepath.Join(c.State, "envoy")
	boot := c.bootstrap(ids, dir)
	doc, err := envoy.Bootstrap(boot)
	if err != nil {
		return nil, err
	}
	sds, err := envoy.ListenSDS(boot.SDSSocket, source, log)
	if err != nil {
		return nil, err
	}
	admin := envoy.NewAdmin(boot.AdminSocket)
	process := envoy.NewProcess(envoy.ProcessConfig{
		Binary: c.Envoy, Dir: dir, NodeID: boot.Node.ID(), Bootstrap: doc, Concurrency: c.Concurrency,
		LogLevel: c.EnvoyLogLevel, DrainTime: c.Drain, StopTime: stopTime,
	}, admin, log)
	watch := envoy.NewWatch(admin, process, envoy.Wanted{
		NodeID: boot.Node.ID(), Identity: ids.own.String(),
		Listeners: []netip.AddrPort{anyAddress(c.Inbound), anyAddress(c.Outbound)},
	}, log)
	return &proxy{source: source, sds: sds, process: process, watch: watch}, nil
}

func anyAddress(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv4Unspecified(), port) }

func (c Config) bootstrap(ids identities, dir string) envoy.BootstrapConfig {
	b := envoy.BootstrapConfig{
		Node: envoy.Node{
			Role: envoy.Sidecar, Address: c.Address, Workload: c.Name, Namespace: c.Namespace, Account: c.Account,
			Domain: c.TrustDomain, Labels: c.Labels, Region: c.Region, Zone: c.Zone, SubZone: c.SubZone,
		},
		AdminSocket: envoy.AdminSocket(dir), SDSSocket: filepath.Join(c.State, "sds.sock"),
		Pilot: envoy.Upstream{Address: c.Pilot, ID: ids.pilot},
		OTLP:  c.OTLP, StateOfTheWorld: c.Protocol == "sotw", Mark: uint32(c.Mark),
	}
	if c.Mixer.IsValid() {
		b.Mixer = envoy.Upstream{Address: c.Mixer, ID: ids.mixer}
	}
	return b
}

// waiting says what the proxy waits for, "" for nothing.
func (p *proxy) waiting() (envoy.State, string) {
	if p.source.Current() == nil {
		return envoy.State{}, "certificate: " + p.source.Waiting()
	}
	return p.watch.State()
}
