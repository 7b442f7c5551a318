package envoy

import "net/netip"

// clusters are the static ones: what Envoy must reach before pilot can name clusters.
func (c BootstrapConfig) clusters() list {
	out := list{
		cluster(ClusterPilot, socket(c.Pilot.Address), tlsTo(c.Pilot), "30s"),
		cluster(ClusterSDS, pipe(c.SDSSocket, 0), nil, ""),
	}
	if c.Mixer.Address.IsValid() {
		out = append(out, cluster(ClusterMixer, socket(c.Mixer.Address), tlsTo(c.Mixer), "10s"))
	}
	if c.OTLP.IsValid() {
		out = append(out, cluster(ClusterOTLP, socket(c.OTLP), nil, "30s"))
	}
	return out
}

// cluster speaks HTTP/2 to one address. keepalive is how often an idle connection is
// asked whether it lives, "" for never.
func cluster(name string, address, tls object, keepalive string) object {
	http2 := object{}
	if keepalive != "" {
		http2["connection_keepalive"] = object{"interval": keepalive, "timeout": "5s"}
	}
	out := object{
		"name": name, "type": "STATIC", "connect_timeout": "1s",
		"load_assignment": object{"cluster_name": name, "endpoints": list{object{
			"lb_endpoints": list{object{"endpoint": object{"address": address}}},
		}}},
		"typed_extension_protocol_options": object{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": object{"http2_protocol_options": http2},
			},
		},
		"circuit_breakers": object{"thresholds": list{object{
			"max_connections": 1024, "max_pending_requests": 4096, "max_requests": 16384, "max_retries": 16,
		}}},
	}
	if tls != nil {
		out["transport_socket"] = tls
	}
	return out
}

// tlsTo is mTLS to a peer that must show exactly one identity.
func tlsTo(u Upstream) object {
	return object{
		"name": "envoy.transport_sockets.tls",
		"typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
			"common_tls_context": object{
				"tls_params":     object{"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
				"alpn_protocols": list{"h2"},
				"tls_certificate_sds_secret_configs": list{
					object{"name": SecretCertificate, "sds_config": SDSConfig()},
				},
				"combined_validation_context": object{
					"default_validation_context": object{"match_typed_subject_alt_names": list{object{
						"san_type": "URI", "matcher": object{"exact": u.ID.String()},
					}}},
					"validation_context_sds_secret_config": object{"name": SecretRoots, "sds_config": SDSConfig()},
				},
			},
		},
	}
}

// SDSConfig is the envoy.config.core.v3.ConfigSource of both secrets, in protobuf's
// JSON form. Envoy keeps one subscription per secret and equal ConfigSource.
func SDSConfig() map[string]any {
	return object{
		"resource_api_version":  "V3",
		"initial_fetch_timeout": "0s",
		"api_config_source": object{
			"api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
			"grpc_services": list{grpcService(ClusterSDS)},
		},
	}
}

func socket(a netip.AddrPort) object {
	return object{"socket_address": object{"address": a.Addr().String(), "port_value": a.Port()}}
}

func pipe(path string, mode uint32) object {
	p := object{"path": path}
	if mode != 0 {
		p["mode"] = mode
	}
	return object{"pipe": p}
}
