package mixer

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/denier"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/list"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/noop"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/prometheus"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/stdio"
)

// Config is mixer's settings.
type Config struct {
	Listen    rpc.Config        `yaml:"listen"`
	Identity  identity.Settings `yaml:"identity"`
	Bus       BusConfig         `yaml:"bus"`
	Policy    PolicyConfig      `yaml:"policy"`
	Adapters  AdapterConfig     `yaml:"adapters"`
	Telemetry telemetry.Config  `yaml:"telemetry"`
	// ProcessorShare says on how many processors the process computes at a time. Where
	// proxies are beside it, threads that wake each other cost more than they compute.
	ProcessorShare float64 `yaml:"processorShare" help:"share of the processors that machine or container give to compute on, above 0 to 1; one at least"`
}

// BusConfig says where config and registry come from.
type BusConfig struct {
	Servers []string `yaml:"servers" help:"addresses of the bus, host:port"`
	IDs     []string `yaml:"ids" help:"SPIFFE IDs that the bus may show: pilot's, or that of a NATS of its own"`
	Keep    string   `yaml:"keep" help:"directory that keeps the last known good; empty keeps none"`
}

// PolicyConfig says whose rules concern whom.
type PolicyConfig struct {
	RootNamespaces []string `yaml:"rootNamespaces" help:"namespaces whose rules concern every service"`
	Domain         string   `yaml:"domain" help:"suffix of service names, and the trust domain"`
}

// AdapterConfig is what adapters share.
type AdapterConfig struct {
	Prometheus string `yaml:"prometheus" help:"host:port at which the prometheus adapter serves /metrics; empty is nowhere"`
}

// DefaultConfig is mixer in the fleet of one machine.
func DefaultConfig() Config {
	return Config{
		Listen: rpc.Config{GRPC: "10.77.0.1:15030", REST: "10.77.0.1:15031", Ops: "10.77.0.1:15034"},
		Identity: identity.Settings{
			ID:          "spiffe://cluster.local/ns/outrigger-system/sa/mixer",
			Authority:   "https://10.77.0.1:15021",
			AuthorityID: "spiffe://cluster.local/ns/outrigger-system/sa/citadel-ca",
		},
		Bus: BusConfig{
			Servers: []string{"10.77.0.1:4222"},
			IDs: []string{
				"spiffe://cluster.local/ns/outrigger-system/sa/pilot",
				"spiffe://cluster.local/ns/outrigger-system/sa/nats",
			},
		},
		Policy:    PolicyConfig{RootNamespaces: []string{"outrigger-system", "istio-system"}, Domain: "cluster.local"},
		Adapters:  AdapterConfig{Prometheus: "10.77.0.1:42422"},
		Telemetry: telemetry.DefaultConfig(),

		ProcessorShare: 1,
	}
}

// checked is what of the settings became a type that cannot be wrong.
type checked struct {
	bus    []spiffe.ID
	admins map[spiffe.ID]bool
	own    spiffe.ID
}

func (c Config) check() (checked, error) {
	out := checked{admins: map[spiffe.ID]bool{}}
	var errs []error
	for _, text := range c.Bus.IDs {
		id, err := spiffe.Parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("bus.ids: %w", err))
		}
		out.bus = append(out.bus, id)
	}
	for _, text := range c.Listen.Admins {
		id, err := spiffe.Parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen.admins: %w", err))
		}
		out.admins[id] = true
	}
	var err error
	if out.own, err = spiffe.Parse(c.Identity.ID); err != nil {
		errs = append(errs, fmt.Errorf("identity.id: %w", err))
	}
	if len(c.Bus.Servers) == 0 {
		errs = append(errs, errors.New("bus.servers: want at least one address"))
	}
	if _, err := spiffe.New(c.Policy.Domain, "x", "x"); err != nil {
		errs = append(errs, fmt.Errorf("policy.domain: %w", err))
	}
	if !(c.ProcessorShare > 0 && c.ProcessorShare <= 1) {
		errs = append(errs, fmt.Errorf("processorShare: %v, want more than 0, and 1 at most", c.ProcessorShare))
	}
	return out, errors.Join(errs...)
}

// trusted are the identities that may report for any service: administrators, and the
// services of the control plane, whose gateways stand in front of all.
func (c checked) trusted() func(spiffe.ID) bool {
	return func(id spiffe.ID) bool {
		return c.admins[id] || id.TrustDomain() == c.own.TrustDomain() && id.Namespace() == c.own.Namespace()
	}
}

// adapters is the list of all adapters, sorted by name: to add one, add a line.
func adapters(exporter *prometheus.Exporter, streams *stdio.Streams) []adapter.Info {
	return []adapter.Info{
		denier.Info(),
		list.Info(),
		noop.Info(),
		exporter.Info(),
		streams.Info(),
	}
}

func newExporter(c Config, log *slog.Logger) *prometheus.Exporter {
	return prometheus.New(c.Adapters.Prometheus, log)
}
