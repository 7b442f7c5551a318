package supervise

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/enter"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/netns"
)

// network is the hub and the hosts on it. It is built once and not changed.
type network struct {
	hub    *netns.Hub
	places map[string]place
}

// buildNetwork makes the calling process's network namespace the hub and adds a
// namespace for each host of the plan.
func buildNetwork(plan fleet.Plan) (*network, error) {
	hub, err := netns.NewHub(plan.Network.Hub)
	if err != nil {
		return nil, err
	}
	n := &network{hub: hub, places: map[string]place{}}
	binds, err := writeSettings(plan, fleet.PlannedHost{Name: "hub", Address: plan.Network.Hub.Addr()})
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	n.places[""] = place{space: hub.Space(), host: "hub", binds: binds}
	for _, host := range plan.Hosts {
		if err := n.add(plan, host); err != nil {
			return nil, errors.Join(fmt.Errorf("host %s: %w", host.Name, err), n.close())
		}
	}
	return n, nil
}

func (n *network) add(plan fleet.Plan, host fleet.PlannedHost) error {
	space, err := n.hub.Attach(host.Address)
	if err != nil {
		return err
	}
	n.places[host.Name] = place{space: space, host: host.Name}
	if host.Sidecar {
		if err := redirect(plan).Install(space); err != nil {
			return err
		}
	}
	binds, err := writeSettings(plan, host)
	n.places[host.Name] = place{space: space, host: host.Name, binds: binds}
	return err
}

func (n *network) close() error {
	var failures []error
	for name, at := range n.places {
		if name != "" {
			failures = append(failures, at.space.Close())
		}
	}
	return errors.Join(append(failures, n.hub.Close())...)
}

func redirect(plan fleet.Plan) netns.Redirect {
	rules := plan.Network.Redirect
	r := netns.Redirect{Inbound: rules.Inbound, Outbound: rules.Outbound, ExcludeOutbound: rules.ExcludeOutbound}
	for _, ports := range rules.ExcludeInbound {
		r.ExcludeInbound = append(r.ExcludeInbound, netns.PortRange{First: ports.First, Last: ports.Last})
	}
	if plan.Root {
		r.Proxy.UID = plan.ProxyUID
	} else {
		r.Proxy.Mark = plan.Network.ProxyMark
	}
	return r
}

// writeSettings writes the files that a host's processes see in /etc.
func writeSettings(plan fleet.Plan, host fleet.PlannedHost) ([]enter.Bind, error) {
	folder := filepath.Join(plan.State, fleet.SettingsFolder, host.Name)
	if err := makeFolder(folder, 0, 0o711); err != nil {
		return nil, err
	}
	texts := []struct {
		name, text string
		optional   bool
	}{
		{name: "resolv.conf", text: resolver(host.Namespace)},
		{name: "hosts", text: hostsFile(plan, host), optional: true},
		{name: "nsswitch.conf", text: "passwd: files\ngroup: files\nhosts: files dns\n", optional: true},
	}
	var binds []enter.Bind
	for _, t := range texts {
		path := filepath.Join(folder, t.name)
		if err := os.WriteFile(path, []byte(t.text), 0o644); err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
		if err := os.Chmod(path, 0o644); err != nil { // whatever the umask says
			return nil, fmt.Errorf("settings: %w", err)
		}
		binds = append(binds, enter.Bind{Source: path, Target: "/etc/" + t.name, Optional: t.optional})
	}
	return binds, nil
}

// resolver asks the name server on the host itself, which the sidecar runs. In
// the hub there is none: names are refused at once instead of after a while.
func resolver(namespace string) string {
	text := "nameserver 127.0.0.1\n"
	if namespace == "" {
		return text
	}
	return text + fmt.Sprintf("search %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", namespace)
}

func hostsFile(plan fleet.Plan, host fleet.PlannedHost) string {
	var text strings.Builder
	fmt.Fprintf(&text, "127.0.0.1\tlocalhost\n%v\t%s\n", host.Address, host.Name)
	for _, name := range slices.Sorted(maps.Keys(plan.Network.Names)) {
		fmt.Fprintf(&text, "%v\t%s\n", plan.Network.Names[name], name)
	}
	return text.String()
}
