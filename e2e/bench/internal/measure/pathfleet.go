package measure

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/bare"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// Ports on the hosts.
const (
	appPort     = 9080 // of the servers
	controlPort = 9000 // of the senders, on loopback
)

// Hosts of the fleet on which requests are measured.
const (
	clientHost     = "client"
	bareClientHost = "bare-client"
	bareServerHost = "bare-server"
	barePolicyHost = "bare-policy"
)

// Addresses that are fixed because they are in a static configuration.
var (
	bareServer = netip.MustParseAddr("10.77.1.200")
	barePolicy = netip.MustParseAddr("10.77.1.201")
)

// pathFleet replaces the hosts of the fleet: a client and a server for each of names,
// all with sidecars, and a client and a server with an Envoy of their own beside a policy
// server.
func (b *bench) pathFleet(names []string) func(*mesh.FleetFile) {
	return func(f *mesh.FleetFile) {
		f.Only()
		send := []any{"send", "--control", control.String()}
		serve := []any{"serve", "--listen", net.JoinHostPort("0.0.0.0", strconv.Itoa(appPort))}
		f.Add("hosts", b.host(clientHost, send, control, true))
		for _, name := range names {
			host := b.host(name, serve, local(appPort), true)
			host["ports"] = []any{map[string]any{"name": "http", "port": appPort, "protocol": "HTTP"}}
			f.Add("hosts", host)
		}
		f.Add("hosts", b.host(bareClientHost, beside(send, f.Dir, bareClientHost), local(bare.Plain.LocalPort()), false))
		server := b.host(bareServerHost, beside(serve, f.Dir, bareServerHost), local(bare.Plain.TLSPort()), false)
		server["address"] = bareServer.String()
		f.Add("hosts", server)
		listen := netip.AddrPortFrom(barePolicy, bare.PolicyPort)
		decide := []any{"decide", "--listen", listen.String(), "--identity", bareConfig(f.Dir, barePolicyHost)}
		policy := b.host(barePolicyHost, decide, listen, false)
		policy["address"] = barePolicy.String()
		f.Add("hosts", policy)
		b.hosts = f.Names("hosts")
	}
}

func local(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

var control = local(controlPort)

func (b *bench) host(name string, args []any, ready netip.AddrPort, sidecar bool) map[string]any {
	return map[string]any{
		"name": name, "namespace": "default", "service": name, "version": "v1",
		"labels": map[string]any{"app": name, "version": "v1"}, "account": "bench-" + name, "sidecar": sidecar,
		"app": map[string]any{
			"command": b.Self, "args": args, "user": applicationUser,
			"ready": map[string]any{"tcp": ready.String()},
		},
	}
}

// beside adds the bare Envoy to a host's program.
func beside(args []any, dir, host string) []any {
	return append(args[:len(args):len(args)], "--envoy", "${ENVOY}", "--config", bareConfig(dir, host))
}

func bareConfig(dir, host string) string { return filepath.Join(dir, "bare", host+".json") }

// applicationUser is one of the fleet file's users, and the uid there of the
// application on the first host; each further one has the next.
const (
	applicationUser = "application"
	applicationUID  = 60600
)

// writeBare writes the configurations of the bare Envoys, with their keys, where they
// and nobody else can read them.
func (b *bench) writeBare(m *mesh.Mesh) error {
	files, err := bare.Pair{Server: bareServer, Policy: barePolicy, App: appPort}.Files()
	if err != nil {
		return err
	}
	folder := filepath.Join(m.Dir, "bare")
	if err = os.Mkdir(folder, 0o700); err == nil {
		err = os.Chmod(folder, 0o711) // each has a user of its own
	}
	for host, text := range map[string][]byte{bareClientHost: files.Client, bareServerHost: files.Server, barePolicyHost: files.Policy} {
		err = errors.Join(err, os.WriteFile(bareConfig(m.Dir, host), text, 0o600))
		if os.Geteuid() == 0 { // else all have the user's uid
			uid := applicationUID + slices.Index(b.hosts, host)
			err = errors.Join(err, os.Chown(bareConfig(m.Dir, host), uid, uid))
		}
	}
	if err != nil {
		return fmt.Errorf("configuration of the bare Envoys: %w", err)
	}
	return nil
}
