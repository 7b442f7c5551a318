package envoy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Role is what a proxy is for.
type Role string

// The roles that pilot knows.
const (
	Sidecar Role = "sidecar"
	Ingress Role = "ingress"
	Egress  Role = "egress"
)

// Node says who the proxy is.
type Node struct {
	Role      Role
	Address   netip.Addr
	Workload  string // name of the workload, or of the gateway
	Namespace string
	Account   string
	Domain    string // of service names: "cluster.local"
	Labels    map[string]string
	// Listen is the address of a gateway's listener; zero for a sidecar.
	Listen netip.AddrPort
	// Region, Zone and SubZone say where it runs; may be empty.
	Region, Zone, SubZone string
}

// ID returns "<role>~<address>~<workload>.<namespace>~<domain>".
func (n Node) ID() string {
	return string(n.Role) + "~" + n.Address.String() + "~" + n.Workload + "." + n.Namespace + "~" + n.Domain
}

func (n Node) check() error {
	var errs []error
	if n.Role != Sidecar && n.Role != Ingress && n.Role != Egress {
		errs = append(errs, fmt.Errorf("role %q", n.Role))
	}
	if !n.Address.IsValid() {
		errs = append(errs, errors.New("no address"))
	}
	if n.Role != Sidecar && !n.Listen.IsValid() {
		errs = append(errs, errors.New("no listen address"))
	}
	for what, s := range map[string]string{"workload": n.Workload, "namespace": n.Namespace, "account": n.Account, "domain": n.Domain} {
		if s == "" || strings.ContainsAny(s, "~/ \t\n") || what == "namespace" && strings.Contains(s, ".") {
			errs = append(errs, fmt.Errorf("%s %q", what, s))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}

func (n Node) json() object {
	meta := object{
		"NAME": n.Workload, "NAMESPACE": n.Namespace, "ACCOUNT": n.Account,
		"ROLE": string(n.Role), "DOMAIN": n.Domain, "LABELS": object{},
	}
	if len(n.Labels) > 0 {
		meta["LABELS"] = n.Labels
	}
	if n.Listen.IsValid() {
		meta["LISTEN_ADDRESS"] = n.Listen.Addr().String()
		meta["LISTEN_PORT"] = strconv.Itoa(int(n.Listen.Port()))
	}
	name := n.Labels["app"]
	if name == "" {
		name = n.Workload
	}
	out := object{"id": n.ID(), "cluster": name + "." + n.Namespace, "metadata": meta}
	if n.Region != "" || n.Zone != "" || n.SubZone != "" {
		out["locality"] = object{"region": n.Region, "zone": n.Zone, "sub_zone": n.SubZone}
	}
	return out
}

// Upstream is a control-plane service that Envoy itself calls over mTLS.
type Upstream struct {
	Address netip.AddrPort
	ID      spiffe.ID // the only identity it is believed with
}

// BootstrapConfig is what a proxy knows before it has met pilot.
type BootstrapConfig struct {
	Node Node
	// AdminSocket and SDSSocket are paths of Unix sockets.
	AdminSocket, SDSSocket string
	Pilot                  Upstream
	// Mixer takes ext_authz calls and access logs; zero for none.
	Mixer Upstream
	// OTLP takes spans, plain gRPC; zero for none.
	OTLP netip.AddrPort
	// StateOfTheWorld asks pilot by that protocol instead of delta.
	StateOfTheWorld bool
	// Mark is put on every socket that Envoy opens to the outside (SO_MARK; needs
	// CAP_NET_ADMIN); 0 for none.
	Mark uint32
	// MaxConnections bounds the connections taken in, all listeners together; 0 for
	// 20,000.
	MaxConnections int
}

// Names of the static clusters.
const (
	ClusterPilot = "xds-pilot"
	ClusterSDS   = "sds-agent"
	ClusterMixer = "mixer"
	ClusterOTLP  = "otlp"
)

type (
	object = map[string]any
	list   = []any
)

// Bootstrap returns Envoy's bootstrap as JSON, the same bytes for equal configs.
func Bootstrap(c BootstrapConfig) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 20_000
	}
	doc := object{
		"node":                  c.Node.json(),
		"admin":                 object{"address": pipe(c.AdminSocket, 0o600), "ignore_global_conn_limit": true},
		"dynamic_resources":     c.dynamic(),
		"static_resources":      object{"clusters": c.clusters()},
		"stats_config":          object{"use_all_default_tags": false, "stats_tags": statTags()},
		"deferred_stat_options": object{"enable_deferred_creation_stats": true},
		"stats_flush_on_admin":  true,
		"overload_manager":      overload(c.MaxConnections),
		// The second layer is for an operator at the admin socket (/runtime_modify).
		"layered_runtime": object{"layers": list{
			object{"name": "base", "static_layer": object{"re2.max_program_size.error_level": 1000}},
			object{"name": "operator", "admin_layer": object{}},
		}},
	}
	if c.Mark != 0 {
		doc["cluster_manager"] = object{"upstream_bind_config": object{"socket_options": list{markOption(c.Mark)}}}
	}
	data, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return append(data, '\n'), nil
}

func (c BootstrapConfig) check() error {
	errs := []error{c.Node.check()}
	for what, path := range map[string]string{"admin": c.AdminSocket, "SDS": c.SDSSocket} {
		if !strings.HasPrefix(path, "/") || len(path) > maxSocketPath {
			errs = append(errs, fmt.Errorf("%s socket %q: want an absolute path of at most %d bytes: use a shorter state folder", what, path, maxSocketPath))
		}
	}
	if !c.Pilot.Address.IsValid() || c.Pilot.ID.IsZero() {
		errs = append(errs, errors.New("pilot: want an address and an identity"))
	}
	if c.Mixer.Address.IsValid() && c.Mixer.ID.IsZero() {
		errs = append(errs, errors.New("mixer: address without identity"))
	}
	return errors.Join(errs...)
}

// dynamic is listeners and clusters over one stream to pilot. Envoy waits for both
// without limit: a proxy that has been told nothing must not call itself LIVE.
func (c BootstrapConfig) dynamic() object {
	api := "DELTA_GRPC"
	if c.StateOfTheWorld {
		api = "GRPC"
	}
	own := object{"ads": object{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
	return object{
		"lds_config": own,
		"cds_config": own,
		"ads_config": object{
			"api_type": api, "transport_api_version": "V3", "set_node_on_first_message_only": true,
			"grpc_services": list{grpcService(ClusterPilot)},
		},
	}
}

// grpcService comes back soon after its peer does: Envoy's default waits up to 30 s.
func grpcService(cluster string) object {
	return object{"envoy_grpc": object{
		"cluster_name": cluster,
		"retry_policy": object{"retry_back_off": object{"base_interval": "0.2s", "max_interval": "2s"}},
	}}
}

// overload bounds what strangers can make Envoy keep.
func overload(connections int) object {
	return object{"resource_monitors": list{object{
		"name": "envoy.resource_monitors.global_downstream_max_connections",
		"typed_config": object{
			"@type":                             "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
			"max_active_downstream_connections": connections,
		},
	}}}
}

// statTags names the few parts of stat names that are worth a label: every default tag
// is a regular expression that runs over every stat.
func statTags() list {
	return list{
		object{"tag_name": "envoy.cluster_name", "regex": `^cluster\.((.+?)\.)(?:upstream_|external_|lb_|membership_|bind_|max_|outlier_|circuit_|ssl|update_|version|warming_|default\.|high\.|internal\.|http2\.|client_ssl)`},
		object{"tag_name": "envoy.response_code_class", "regex": `_rq(_(\dxx))$`},
		object{"tag_name": "envoy.response_code", "regex": `_rq(_(\d{3}))$`},
	}
}

// markOption sets SO_MARK.
func markOption(mark uint32) object {
	const solSocket, soMark = 1, 36
	return object{"description": "packet mark", "level": solSocket, "name": soMark, "int_value": mark, "state": "STATE_PREBIND"}
}
