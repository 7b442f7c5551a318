// Package bare describes what the mesh is compared with: two Envoys with a static
// configuration and no mesh, as a person would write it who wants HTTP over mutual TLS
// between two hosts and nothing else; and, at ports of their own, the same with requests
// recorded or checked by a policy server. In: addresses and names. Out: files' text. It
// starts nothing.
package bare

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// Way is what is done with requests on their way through the pair.
type Way int

// The ways.
const (
	Plain    Way = iota // nothing
	Recorded            // the server's Envoy tells the policy server
	Checked             // the server's Envoy asks the policy server
	ways
)

// LocalPort is where requests for a way are taken on the client's loopback.
func (w Way) LocalPort() uint16 { return 10001 + uint16(w) }

// TLSPort is where the server's Envoy takes them from its peer.
func (w Way) TLSPort() uint16 { return 10443 + uint16(w) }

// Ports on the hosts.
const (
	PolicyPort = 10450 // of the policy server, for the server's Envoy
	AdminPort  = 9901  // of both Envoys, on loopback
)

// Pair is two Envoys, the second in front of an application on its own loopback.
type Pair struct {
	Server netip.Addr // of the second one's host
	Policy netip.Addr // of the policy server's host
	App    uint16     // port of the application on the second one's host
}

// Files are the texts of the pair's configurations, with fresh keys in them.
type Files struct {
	Client, Server []byte
	// Policy is the policy server's Identity, as JSON.
	Policy []byte
}

type (
	object = map[string]any
	list   = []any
)

const extensions = "type.googleapis.com/envoy.extensions."

const policyCluster = "policy"

// Files makes the configurations.
func (p Pair) Files() (Files, error) {
	authority, err := newAuthority()
	if err != nil {
		return Files{}, err
	}
	client, err := authority.sign("client")
	if err != nil {
		return Files{}, err
	}
	server, err := authority.sign("server")
	if err != nil {
		return Files{}, err
	}
	policy, err := authority.sign("policy")
	if err != nil {
		return Files{}, err
	}
	var out Files
	if out.Client, err = p.client(client); err != nil {
		return Files{}, err
	}
	if out.Server, err = p.server(server); err != nil {
		return Files{}, err
	}
	if out.Policy, err = json.Marshal(policy); err != nil {
		return Files{}, fmt.Errorf("identity of the policy server: %w", err)
	}
	return out, nil
}

func (p Pair) client(identity Identity) ([]byte, error) {
	var listeners, clusters list
	for w := range ways {
		name := fmt.Sprintf("next-%d", w)
		next := cluster(name, address(p.Server, w.TLSPort()))
		next["transport_socket"] = transport("UpstreamTlsContext", object{"common_tls_context": identity.context("server")})
		clusters = append(clusters, next)
		listeners = append(listeners, listener(address(loopback, w.LocalPort()), nil, Plain, name))
	}
	return bootstrap(listeners, clusters)
}

func (p Pair) server(identity Identity) ([]byte, error) {
	const app = "app"
	tls := transport("DownstreamTlsContext", object{
		"common_tls_context": identity.context("client"), "require_client_certificate": true,
	})
	var listeners list
	for w := range ways {
		listeners = append(listeners, listener(address(netip.IPv4Unspecified(), w.TLSPort()), tls, w, app))
	}
	policy := cluster(policyCluster, address(p.Policy, PolicyPort))
	policy["transport_socket"] = transport("UpstreamTlsContext", object{
		"common_tls_context": identity.context("policy"), "sni": "policy",
	})
	policy["typed_extension_protocol_options"] = object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
		"@type":                extensions + "upstreams.http.v3.HttpProtocolOptions",
		"explicit_http_config": object{"http2_protocol_options": object{}},
	}}
	return bootstrap(listeners, list{cluster(app, address(loopback, p.App)), policy})
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func bootstrap(listeners, clusters list) ([]byte, error) {
	text, err := json.MarshalIndent(object{
		"admin":            object{"address": address(loopback, AdminPort)},
		"static_resources": object{"listeners": listeners, "clusters": clusters},
	}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("configuration of a bare Envoy: %w", err)
	}
	return text, nil
}

// listener is one listener with one route.
func listener(listen, tls object, way Way, to string) object {
	manager := object{
		"@type":       extensions + "filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "bare",
		"route_config": object{"virtual_hosts": list{object{
			"name": "all", "domains": list{"*"},
			"routes": list{object{"match": object{"prefix": "/"}, "route": object{"cluster": to}}},
		}}},
	}
	filters := list{object{
		"name":         "envoy.filters.http.router",
		"typed_config": object{"@type": extensions + "filters.http.router.v3.Router"},
	}}
	policy := object{"envoy_grpc": object{"cluster_name": policyCluster}}
	switch way {
	case Recorded:
		manager["access_log"] = list{object{"name": "envoy.access_loggers.http_grpc", "typed_config": object{
			"@type":         extensions + "access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
			"common_config": object{"log_name": "bare", "grpc_service": policy, "transport_api_version": "V3"},
		}}}
	case Checked:
		filters = append(list{object{"name": "envoy.filters.http.ext_authz", "typed_config": object{
			"@type":        extensions + "filters.http.ext_authz.v3.ExtAuthz",
			"grpc_service": policy, "transport_api_version": "V3",
		}}}, filters...)
	}
	manager["http_filters"] = filters
	chain := object{"filters": list{object{
		"name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
	}}}
	if tls != nil {
		chain["transport_socket"] = tls
	}
	return object{"name": "to-" + to + fmt.Sprintf("-%d", way), "address": listen, "filter_chains": list{chain}}
}

func cluster(name string, to object) object {
	return object{
		"name": name, "type": "STATIC", "connect_timeout": "1s",
		"load_assignment": object{"cluster_name": name, "endpoints": list{object{
			"lb_endpoints": list{object{"endpoint": object{"address": to}}},
		}}},
	}
}

func address(host netip.Addr, port uint16) object {
	return object{"socket_address": object{"address": host.String(), "port_value": port}}
}

func transport(kind string, config object) object {
	config["@type"] = extensions + "transport_sockets.tls.v3." + kind
	return object{"name": "envoy.transport_sockets.tls", "typed_config": config}
}
