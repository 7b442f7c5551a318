package agent

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Config is everything the agent is told. Every field is a flag, and a key of the same
// name in the config file, a flat JSON object.
type Config struct {
	Name, Namespace, Account string
	Address                  netip.Addr
	Labels                   Pairs
	Ports                    Ports
	Health                   string // path, empty for none
	Region, Zone, SubZone    string

	TrustDomain      string
	ControlNamespace string // of the control plane's accounts

	State    string // folder
	Envoy    string // binary
	Pilot    netip.AddrPort
	PilotAPI string
	CA       string
	Mixer    netip.AddrPort
	OTLP     netip.AddrPort
	DNS      netip.AddrPort
	Status   netip.AddrPort

	Inbound, Outbound uint16 // of Envoy's listeners
	Mark              uint
	Concurrency       int
	Protocol          string // "delta" or "sotw"
	Drain             time.Duration
	TTL               time.Duration
	LogLevel          slog.Level
	EnvoyLogLevel     string
}

// DefaultConfig is right but for who the workload is and where it keeps its state.
func DefaultConfig() Config {
	hub := netip.AddrFrom4([4]byte{10, 77, 0, 1})
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	return Config{
		Namespace: "default", Account: "default",
		TrustDomain: "cluster.local", ControlNamespace: "outrigger-system",
		Envoy: "envoy",
		Pilot: netip.AddrPortFrom(hub, 15010), PilotAPI: "https://10.77.0.1:15011",
		CA: "https://10.77.0.1:15021", Mixer: netip.AddrPortFrom(hub, 15030),
		DNS: netip.AddrPortFrom(loopback, 53), Status: netip.AddrPortFrom(loopback, 15090),
		Inbound: 15006, Outbound: 15001,
		Concurrency: 1, Protocol: "delta", Drain: 5 * time.Second, EnvoyLogLevel: "warning",
	}
}

// flags returns the flags that set c, whose values are the defaults.
func (c *Config) flags() *flag.FlagSet {
	f := flag.NewFlagSet("sidecar-agent", flag.ContinueOnError)
	f.StringVar(&c.Name, "name", c.Name, "`name` of the workload; needed")
	f.StringVar(&c.Namespace, "namespace", c.Namespace, "its `namespace`")
	f.StringVar(&c.Account, "account", c.Account, "its service `account`")
	f.TextVar(&c.Address, "address", c.Address, "its `address`; needed")
	f.Var(&c.Labels, "labels", "its labels, `key=value,…`")
	f.Var(&c.Ports, "ports", "ports that the application serves, `name:number:protocol,…`")
	f.StringVar(&c.Health, "health", c.Health, "`path` that the application answers with status 2xx or 3xx over HTTP while it is well, on the first of its ports; empty: that it accepts connections is enough")
	f.StringVar(&c.Region, "region", c.Region, "where it runs")
	f.StringVar(&c.Zone, "zone", c.Zone, "where it runs")
	f.StringVar(&c.SubZone, "subZone", c.SubZone, "where it runs")
	f.StringVar(&c.TrustDomain, "trustDomain", c.TrustDomain, "trust `domain` of the mesh, also of its names")
	f.StringVar(&c.ControlNamespace, "controlNamespace", c.ControlNamespace, "`namespace` of the control plane's accounts")
	f.StringVar(&c.State, "state", c.State, "`folder` for certificate, names, sockets and Envoy's files; needed")
	f.StringVar(&c.Envoy, "envoy", c.Envoy, "`path` of Envoy")
	f.TextVar(&c.Pilot, "pilot", c.Pilot, "pilot's gRPC `address`")
	f.StringVar(&c.PilotAPI, "pilotAPI", c.PilotAPI, "pilot's REST `URL`, for names and registration; empty for neither")
	f.StringVar(&c.CA, "ca", c.CA, "citadel-ca's REST `URL`")
	f.Var((*optional)(&c.Mixer), "mixer", "mixer's gRPC `address`; empty for none")
	f.Var((*optional)(&c.OTLP), "otlp", "`address` that takes spans, OTLP over gRPC; empty for none")
	f.Var((*optional)(&c.DNS), "dns", "`address` to serve DNS on, UDP and TCP; empty for none. Sockets of it that are inherited as sd_listen_fds(3) says are used: queries wait in them while the agent is away")
	f.TextVar(&c.Status, "status", c.Status, "`address` on loopback for health, readiness and metrics; status.sock in the state folder has drain, too")
	f.Var((*port)(&c.Inbound), "inbound", "`port` of Envoy that intercepted connections to the workload go to")
	f.Var((*port)(&c.Outbound), "outbound", "`port` of Envoy that intercepted connections of the workload go to")
	f.UintVar(&c.Mark, "mark", c.Mark, "packet `mark` of Envoy's own connections; 0 for none")
	f.IntVar(&c.Concurrency, "concurrency", c.Concurrency, "Envoy's worker `threads`")
	f.StringVar(&c.Protocol, "protocol", c.Protocol, "how Envoy asks pilot: `delta or sotw`")
	f.DurationVar(&c.Drain, "drain", c.Drain, "`time` for callers to notice that the workload goes, and again for connections to end")
	f.DurationVar(&c.TTL, "ttl", c.TTL, "lifetime of certificates to ask for; 0 leaves it to citadel-ca")
	f.TextVar(&c.LogLevel, "logLevel", c.LogLevel, "`level` of the agent's log: debug, info, warn, error")
	f.StringVar(&c.EnvoyLogLevel, "envoyLogLevel", c.EnvoyLogLevel, "`level` of Envoy's log")
	return f
}

// check reports everything that is wrong, together.
func (c Config) check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Name == "", "name: it is needed")
	bad(!c.Address.IsValid(), "address: it is needed")
	bad(c.Health != "" && !isPath(c.Health), "health: want a path such as /health, got %q", c.Health)
	bad(!filepath.IsAbs(c.State), "state: want an absolute path, got %q", c.State)
	bad(!c.Status.Addr().IsLoopback(), "status: %s is not on loopback", c.Status)
	bad(c.DNS.IsValid() && !c.DNS.Addr().IsLoopback(), "dns: %s is not on loopback", c.DNS)
	bad(c.Protocol != "delta" && c.Protocol != "sotw", "protocol: want delta or sotw, got %q", c.Protocol)
	bad(c.Concurrency < 1, "concurrency: want at least 1, got %d", c.Concurrency)
	bad(c.Mark > 1<<31-1, "mark: want less than 2^31, got %d", c.Mark)
	bad(c.Drain < 0 || c.Drain > 10*time.Minute, "drain: want 0 to 10m, got %s", c.Drain)
	bad(!strings.HasPrefix(c.CA, "https://"), "ca: want an https URL, got %q", c.CA)
	bad(c.PilotAPI != "" && !strings.HasPrefix(c.PilotAPI, "https://"), "pilotAPI: want an https URL, got %q", c.PilotAPI)
	_, err := c.ids()
	return errors.Join(append(errs, err)...)
}

// identities are the ones the agent has to do with.
type identities struct{ own, pilot, mixer, ca spiffe.ID }

func (c Config) ids() (identities, error) {
	var errs []error
	id := func(namespace, account string) spiffe.ID {
		id, err := spiffe.New(c.TrustDomain, namespace, account)
		if err != nil {
			errs = append(errs, fmt.Errorf("identity: %w", err))
		}
		return id
	}
	ids := identities{
		own: id(c.Namespace, c.Account), pilot: id(c.ControlNamespace, "pilot"),
		mixer: id(c.ControlNamespace, "mixer"), ca: id(c.ControlNamespace, "citadel-ca"),
	}
	return ids, errors.Join(errs...)
}

// Pairs is a set of labels, as text "key=value,…".
type Pairs map[string]string

// Set reads the text form.
func (p *Pairs) Set(text string) error {
	out := Pairs{}
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok || key == "" {
			return fmt.Errorf("%q: want key=value", part)
		}
		out[key] = value
	}
	*p = out
	return nil
}

func (p *Pairs) String() string { return "" }

// Port is one that the application serves.
type Port struct {
	Name   string
	Number uint16
}

// Ports is a list of ports, as text "name:number[:protocol],…"; the protocol is what
// the service says, and not read here.
type Ports []Port

// Set reads the text form.
func (p *Ports) Set(text string) error {
	var out Ports
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		fields := strings.Split(part, ":")
		if len(fields) != 2 && len(fields) != 3 || fields[0] == "" {
			return fmt.Errorf("%q: want name:number or name:number:protocol", part)
		}
		var number port
		if err := number.Set(fields[1]); err != nil {
			return err
		}
		out = append(out, Port{fields[0], uint16(number)})
	}
	*p = out
	return nil
}

func (p *Ports) String() string { return "" }

// port is 1 to 65535.
type port uint16

func (p *port) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q: want a port, 1 to 65535", text)
	}
	*p = port(n)
	return nil
}

func (p *port) String() string { return strconv.Itoa(int(*p)) }

// optional is an address, or empty.
type optional netip.AddrPort

func (o *optional) Set(text string) error {
	if text == "" {
		*o = optional{}
		return nil
	}
	a, err := netip.ParseAddrPort(text)
	*o = optional(a)
	return err // flag says of which
}

func (o *optional) String() string {
	if !netip.AddrPort(*o).IsValid() {
		return ""
	}
	return netip.AddrPort(*o).String()
}
