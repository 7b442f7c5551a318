// Package bare describes what the mesh is compared with: two Envoys with a static
// configuration and no mesh, as a person would write it who wants HTTP over mutual TLS
// between two hosts and nothing else. In: addresses and names. Out: two files' text. It
// starts nothing.
package bare

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// Ports on the hosts of the pair.
const (
	LocalPort = 10001 // of the client's Envoy, on loopback
	TLSPort   = 10443 // of the server's Envoy, for its peer
	AdminPort = 9901  // of both, on loopback
)

// Pair is two Envoys, the second in front of an application on its own loopback.
type Pair struct {
	Server netip.Addr // of the second one's host
	App    uint16     // port of the application there
}

type (
	object = map[string]any
	list   = []any
)

const extensions = "type.googleapis.com/envoy.extensions."

// Configs returns the configuration files of both, with fresh keys in them.
func (p Pair) Configs() (client, server []byte, err error) {
	authority, err := newAuthority()
	if err != nil {
		return nil, nil, err
	}
	clientTLS, err := authority.context("client", "server")
	if err != nil {
		return nil, nil, err
	}
	serverTLS, err := authority.context("server", "client")
	if err != nil {
		return nil, nil, err
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	toServer := cluster(address(p.Server, TLSPort))
	toServer["transport_socket"] = transport("UpstreamTlsContext", object{"common_tls_context": clientTLS})
	fromClient := transport("DownstreamTlsContext", object{"common_tls_context": serverTLS, "require_client_certificate": true})
	if client, err = bootstrap(address(loopback, LocalPort), nil, toServer); err != nil {
		return nil, nil, err
	}
	server, err = bootstrap(address(netip.IPv4Unspecified(), TLSPort), fromClient, cluster(address(loopback, p.App)))
	return client, server, err
}

// bootstrap is one listener, one route, one cluster.
func bootstrap(listen, tls, to object) ([]byte, error) {
	chain := object{"filters": list{object{
		"name": "envoy.filters.network.http_connection_manager",
		"typed_config": object{
			"@type":       extensions + "filters.network.http_connection_manager.v3.HttpConnectionManager",
			"stat_prefix": "bare",
			"route_config": object{"virtual_hosts": list{object{
				"name": "all", "domains": list{"*"},
				"routes": list{object{"match": object{"prefix": "/"}, "route": object{"cluster": clusterName}}},
			}}},
			"http_filters": list{object{
				"name":         "envoy.filters.http.router",
				"typed_config": object{"@type": extensions + "filters.http.router.v3.Router"},
			}},
		},
	}}}
	if tls != nil {
		chain["transport_socket"] = tls
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	text, err := json.MarshalIndent(object{
		"admin": object{"address": address(loopback, AdminPort)},
		"static_resources": object{
			"listeners": list{object{"name": "bare", "address": listen, "filter_chains": list{chain}}},
			"clusters":  list{to},
		},
	}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("configuration of a bare Envoy: %w", err)
	}
	return text, nil
}

const clusterName = "next"

func cluster(to object) object {
	return object{
		"name": clusterName, "type": "STATIC", "connect_timeout": "1s",
		"load_assignment": object{"cluster_name": clusterName, "endpoints": list{object{
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
