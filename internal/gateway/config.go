package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
)

// Config is the settings of a gateway service.
type Config struct {
	Listen    rpc.Config        `yaml:"listen"`
	Identity  identity.Settings `yaml:"identity"`
	Envoy     Envoy             `yaml:"envoy"`
	Pilot     Upstream          `yaml:"pilot"`
	Mixer     Upstream          `yaml:"mixer"`
	Telemetry telemetry.Config  `yaml:"telemetry"`
}

// Envoy says which proxy to run, and how.
type Envoy struct {
	Binary   string `yaml:"binary" help:"path of Envoy, or its name in PATH"`
	State    string `yaml:"state" help:"directory for Envoy's bootstrap, log and sockets"`
	Name     string `yaml:"name" help:"name of this gateway in the mesh"`
	Address  string `yaml:"address" help:"IP address by which the mesh knows this gateway; empty is that of listen"`
	Listen   string `yaml:"listen" help:"IP:port of the listener that pilot is asked for"`
	Domain   string `yaml:"domain" help:"suffix of service names"`
	Protocol string `yaml:"protocol" help:"how Envoy asks pilot: delta or sotw"`
	OTLP     string `yaml:"otlp" help:"IP:port that takes Envoy's spans, OTLP over gRPC; empty for none"`
	LogLevel string `yaml:"logLevel" help:"level of Envoy's log"`

	Labels map[string]string `yaml:"labels" help:"labels of this gateway"`

	Region  string `yaml:"region" help:"where this gateway runs"`
	Zone    string `yaml:"zone" help:"where this gateway runs"`
	SubZone string `yaml:"subZone" help:"where this gateway runs"`

	Concurrency    int           `yaml:"concurrency" help:"worker threads"`
	MaxConnections int           `yaml:"maxConnections" help:"connections that are taken in at most; 0 is 20,000"`
	Mark           int           `yaml:"mark" help:"packet mark of Envoy's own connections; 0 for none"`
	Drain          time.Duration `yaml:"drain" help:"how long connections may take to end"`
	Stop           time.Duration `yaml:"stop" help:"how long Envoy may take from SIGTERM to its end"`
}

// Upstream is a control-plane service that Envoy calls.
type Upstream struct {
	Address string `yaml:"address" help:"IP:port of its gRPC; empty for none"`
	ID      string `yaml:"id" help:"SPIFFE ID that it must show"`
}

const system = "spiffe://cluster.local/ns/outrigger-system/sa/"

// DefaultConfig returns the settings of a gateway of that role in the fleet of one
// machine: its API begins at port, its proxy listens on listen.
func DefaultConfig(role envoy.Role, port, listen uint16) Config {
	at := func(port uint16) string { return fmt.Sprintf("10.77.0.1:%d", port) }
	name := string(role)
	return Config{
		Listen: rpc.Config{GRPC: at(port), REST: at(port + 1), Ops: at(port + 4)},
		Identity: identity.Settings{
			ID: system + name, Authority: "https://" + at(15021), AuthorityID: system + "citadel-ca",
		},
		Envoy: Envoy{
			Binary: "envoy", Name: name, Listen: at(listen), Domain: "cluster.local", Protocol: "delta",
			LogLevel: "warning", Concurrency: 2, Drain: 5 * time.Second, Stop: 3 * time.Second,
		},
		Pilot:     Upstream{Address: at(15010), ID: system + "pilot"},
		Mixer:     Upstream{Address: at(15030), ID: system + "mixer"},
		Telemetry: telemetry.DefaultConfig(),
	}
}

// checked is what of the settings became types that cannot be wrong.
type checked struct {
	own       spiffe.ID
	bootstrap envoy.BootstrapConfig
}

// check reports all mistakes together.
func (c Config) check(role envoy.Role) (checked, error) {
	var errs []error
	note := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	own, err := spiffe.Parse(c.Identity.ID)
	note("identity.id", err)
	listen, err := netip.ParseAddrPort(c.Envoy.Listen)
	note("envoy.listen", err)
	address := listen.Addr()
	if c.Envoy.Address != "" {
		address, err = netip.ParseAddr(c.Envoy.Address)
		note("envoy.address", err)
	}
	pilot, err := c.Pilot.parse()
	note("pilot", err)
	mixer, err := c.Mixer.parse()
	note("mixer", err)
	otlp, err := optional(c.Envoy.OTLP)
	note("envoy.otlp", err)
	note("envoy", c.Envoy.check())
	return checked{own: own, bootstrap: envoy.BootstrapConfig{
		Node: envoy.Node{
			Role: role, Address: address, Workload: c.Envoy.Name, Namespace: own.Namespace(), Account: own.Account(),
			Domain: c.Envoy.Domain, Labels: c.Envoy.Labels, Listen: listen,
			Region: c.Envoy.Region, Zone: c.Envoy.Zone, SubZone: c.Envoy.SubZone,
		},
		AdminSocket: envoy.AdminSocket(c.Envoy.State), SDSSocket: filepath.Join(c.Envoy.State, "sds.sock"),
		Pilot: pilot, Mixer: mixer, OTLP: otlp, StateOfTheWorld: c.Envoy.Protocol == "sotw",
		Mark: uint32(c.Envoy.Mark), MaxConnections: c.Envoy.MaxConnections, // checked
	}}, errors.Join(errs...)
}

func (e Envoy) check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!filepath.IsAbs(e.State), "state: want an absolute path, got %q", e.State)
	bad(!slices.Contains([]string{"delta", "sotw"}, e.Protocol), "protocol: want delta or sotw, got %q", e.Protocol)
	bad(e.Concurrency < 1, "concurrency: want at least 1, got %d", e.Concurrency)
	bad(e.MaxConnections < 0, "maxConnections: want 0 or more, got %d", e.MaxConnections)
	bad(e.Mark < 0 || e.Mark > 1<<31-1, "mark: want 0 to 2^31-1, got %d", e.Mark)
	bad(e.Drain < 0, "drain: want 0 or more, got %s", e.Drain)
	bad(e.Stop <= 0, "stop: want more than 0, got %s", e.Stop)
	return errors.Join(errs...)
}

// parse returns the zero Upstream for none.
func (u Upstream) parse() (envoy.Upstream, error) {
	if u.Address == "" {
		return envoy.Upstream{}, nil
	}
	address, err := netip.ParseAddrPort(u.Address)
	if err != nil {
		return envoy.Upstream{}, fmt.Errorf("address: %w", err)
	}
	id, err := spiffe.Parse(u.ID)
	if err != nil {
		return envoy.Upstream{}, fmt.Errorf("id: %w", err)
	}
	return envoy.Upstream{Address: address, ID: id}, nil
}

func optional(text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPort{}, nil
	}
	return netip.ParseAddrPort(text) // the caller names the key
}
