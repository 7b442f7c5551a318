package pilot

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/folder"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/world"
)

// Config is all of pilot's settings, as text.
type Config struct {
	Listen    rpc.Config        `yaml:"listen"`
	Identity  identity.Settings `yaml:"identity"`
	Telemetry telemetry.Config  `yaml:"telemetry"`
	Bus       BusConfig         `yaml:"bus"`
	Mesh      MeshConfig        `yaml:"mesh"`
	State     string            `yaml:"state" help:"directory for the last known good of the bus and the embedded bus itself"`
	Folders   []string          `yaml:"folders" help:"folders of documents that are watched; each file is taken by itself"`
	Quiet     time.Duration     `yaml:"quiet" help:"how long nothing must change before proxies are told"`
	MaxDelay  time.Duration     `yaml:"maxDelay" help:"how long a change waits at most while more come in"`
}

// BusConfig says where the config-change bus is.
type BusConfig struct {
	Servers  []string `yaml:"servers" help:"NATS servers, host:port; empty starts one inside pilot"`
	ServerID string   `yaml:"serverID" help:"SPIFFE ID that the servers must show"`
	Listen   string   `yaml:"listen" help:"host:port of the server inside pilot"`
	Readers  []string `yaml:"readers" help:"SPIFFE IDs that may read the bus inside pilot"`
	Replicas int      `yaml:"replicas" help:"copies of each bucket in a NATS cluster"`
}

// MeshConfig is what the whole mesh shares.
type MeshConfig struct {
	Domain         string        `yaml:"domain" help:"ends every service's host name"`
	RootNamespaces []string      `yaml:"rootNamespaces" help:"namespaces whose Rules concern every service; as in mixer"`
	Addresses      string        `yaml:"addresses" help:"range of the services' virtual addresses"`
	RequestTimeout time.Duration `yaml:"requestTimeout" help:"timeout of HTTP requests that no rule gives one; 0 is none"`
	ConnectTimeout time.Duration `yaml:"connectTimeout" help:"timeout of connections between proxies"`
	Policy         bool          `yaml:"policy" help:"there is a mixer to ask"`
	Traces         bool          `yaml:"traces" help:"proxies have a trace collector"`
	TraceSample    float64       `yaml:"traceSample" help:"share of requests that begin a trace, in percent"`
	Ingress        string        `yaml:"ingress" help:"SPIFFE ID that may be the ingress"`
	Egress         string        `yaml:"egress" help:"SPIFFE ID that may be the egress"`
	AnyAddress     bool          `yaml:"anyAddress" help:"workloads may register an address that they do not call from"`
}

// DefaultConfig is pilot with a bus of its own, listening nowhere yet.
func DefaultConfig() Config {
	return Config{
		Telemetry: telemetry.DefaultConfig(),
		Identity: identity.Settings{
			ID:          "spiffe://cluster.local/ns/outrigger-system/sa/pilot",
			AuthorityID: "spiffe://cluster.local/ns/outrigger-system/sa/citadel-ca",
		},
		Bus: BusConfig{ServerID: "spiffe://cluster.local/ns/outrigger-system/sa/nats", Replicas: 1},
		Mesh: MeshConfig{
			Domain: "cluster.local", RootNamespaces: []string{"outrigger-system", "istio-system"}, Addresses: "10.78.0.0/16",
			RequestTimeout: 15 * time.Second, ConnectTimeout: time.Second, Policy: true, TraceSample: 100,
			Ingress: "spiffe://cluster.local/ns/outrigger-system/sa/ingress",
			Egress:  "spiffe://cluster.local/ns/outrigger-system/sa/egress",
		},
		Quiet: 10 * time.Millisecond, MaxDelay: 100 * time.Millisecond,
	}
}

// parsed is a Config that cannot be wrong.
type parsed struct {
	identity  identity.Config
	addresses netip.Prefix
	gateways  map[translate.Role]spiffe.ID
	busID     spiffe.ID
	readers   []spiffe.ID
	folders   folder.Dirs
	world     world.Config
}

// parse reports all mistakes together.
func (c Config) parse() (parsed, error) {
	var p parsed
	var errs []error
	note := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	var err error
	if p.identity, err = c.Identity.Config(); err != nil {
		errs = append(errs, err)
	}
	p.addresses, err = netip.ParsePrefix(c.Mesh.Addresses)
	note("mesh.addresses", err)
	p.gateways = map[translate.Role]spiffe.ID{}
	p.gateways[translate.Ingress], err = spiffe.Parse(c.Mesh.Ingress)
	note("mesh.ingress", err)
	p.gateways[translate.Egress], err = spiffe.Parse(c.Mesh.Egress)
	note("mesh.egress", err)
	p.busID, err = spiffe.Parse(c.Bus.ServerID)
	note("bus.serverID", err)
	for _, r := range c.Bus.Readers {
		id, err := spiffe.Parse(r)
		note("bus.readers", err)
		p.readers = append(p.readers, id)
	}
	p.folders, err = folder.Absolute(c.Folders)
	note("folders", err)
	if c.State == "" {
		errs = append(errs, errors.New("state: want a directory"))
	}
	if len(c.Bus.Servers) == 0 && c.Bus.Listen == "" {
		errs = append(errs, errors.New("bus: want servers, or an address to listen on"))
	}
	if c.Mesh.TraceSample < 0 || c.Mesh.TraceSample > 100 {
		errs = append(errs, fmt.Errorf("mesh.traceSample %v: want 0 to 100", c.Mesh.TraceSample))
	}
	if c.Quiet <= 0 || c.MaxDelay < c.Quiet {
		errs = append(errs, fmt.Errorf("quiet %s and maxDelay %s: want more than 0, and the second not below the first", c.Quiet, c.MaxDelay))
	}
	p.world = world.Config{
		Settings: model.Settings{Domain: c.Mesh.Domain, TrustDomain: p.identity.ID.TrustDomain(), RootNamespaces: c.Mesh.RootNamespaces},
		Mesh: translate.Mesh{
			RequestTimeout: c.Mesh.RequestTimeout, ConnectTimeout: c.Mesh.ConnectTimeout,
			TraceSample: c.Mesh.TraceSample, Policy: c.Mesh.Policy,
		},
		Quiet: c.Quiet, MaxDelay: c.MaxDelay,
	}
	return p, errors.Join(errs...)
}
