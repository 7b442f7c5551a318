package envoytest

import (
	"net/netip"

	"github.com/outrigger-mesh/outrigger/internal/envoy/internal/xdswire"
)

// Types of the resources that Pilot serves.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
)

// Resource is a named, encoded resource.
type Resource struct {
	Name string
	Body []byte
}

// HTTPListener answers every request with 200 and a body.
func HTTPListener(name string, at netip.AddrPort, body string) Resource {
	var action []byte // DirectResponseAction
	action = xdswire.AppendVarint(action, 1, 200)
	action = xdswire.AppendBytes(action, 2, xdswire.AppendBytes(nil, 3, body))
	var route []byte
	route = xdswire.AppendBytes(route, 1, xdswire.AppendBytes(nil, 1, "/"))
	route = xdswire.AppendBytes(route, 7, action)
	var host []byte
	host = xdswire.AppendBytes(host, 1, "all")
	host = xdswire.AppendBytes(host, 2, "*")
	host = xdswire.AppendBytes(host, 3, route)
	var table []byte
	table = xdswire.AppendBytes(table, 1, "table")
	table = xdswire.AppendBytes(table, 2, host)
	var hcm []byte
	hcm = xdswire.AppendBytes(hcm, 2, name)
	hcm = xdswire.AppendBytes(hcm, 4, table)
	hcm = xdswire.AppendBytes(hcm, 5, filter("envoy.filters.http.router", "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", nil))
	const hcmType = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	chain := xdswire.AppendBytes(nil, 3, filter("envoy.filters.network.http_connection_manager", hcmType, hcm))
	var l []byte
	l = xdswire.AppendBytes(l, 1, name)
	l = xdswire.AppendBytes(l, 2, address(at))
	l = xdswire.AppendBytes(l, 3, chain)
	return Resource{name, l}
}

// StaticCluster has one endpoint and is plain text.
func StaticCluster(name string, at netip.AddrPort) Resource {
	endpoint := xdswire.AppendBytes(nil, 1, address(at))
	locality := xdswire.AppendBytes(nil, 2, xdswire.AppendBytes(nil, 1, endpoint))
	var load []byte
	load = xdswire.AppendBytes(load, 1, name)
	load = xdswire.AppendBytes(load, 2, locality)
	var c []byte
	c = xdswire.AppendBytes(c, 1, name)
	c = xdswire.AppendVarint(c, 2, 0) // STATIC
	c = xdswire.AppendBytes(c, 33, load)
	return Resource{name, c}
}

func filter(name, typeURL string, body []byte) []byte {
	return xdswire.AppendAny(xdswire.AppendBytes(nil, 1, name), 4, typeURL, body)
}

func address(a netip.AddrPort) []byte {
	var s []byte
	s = xdswire.AppendBytes(s, 2, a.Addr().String())
	s = xdswire.AppendVarint(s, 3, uint64(a.Port()))
	return xdswire.AppendBytes(nil, 1, s)
}
