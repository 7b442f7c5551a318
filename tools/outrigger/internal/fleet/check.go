package fleet

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// label is a DNS label: what names of services, hosts and accounts look like.
// They become parts of file names, so that nothing else may pass.
var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// socketName is a file name without a folder.
var socketName = regexp.MustCompile(`^[a-z0-9][-a-z0-9.]{0,62}$`)

// checker gathers mistakes.
type checker struct {
	mistakes []error
	names    map[string]string // process and host names, and what took them
	users    map[string]uint32
}

func (c *checker) failf(format string, args ...any) {
	c.mistakes = append(c.mistakes, fmt.Errorf(format, args...))
}

func (f File) check() error {
	c := &checker{names: map[string]string{}, users: f.Users}
	if f.TrustDomain == "" || strings.ContainsAny(f.TrustDomain, "/ ") {
		c.failf("trustDomain %q is not a trust domain", f.TrustDomain)
	}
	c.name("namespace", f.Namespace)
	c.network(f.Network)
	for name, uid := range f.Users {
		if uid == 0 {
			c.failf("users: %s: uid 0 is root", name)
		}
	}
	for i, s := range f.Services {
		c.service(fmt.Sprintf("services[%d] %q", i, s.Name), s)
	}
	if f.Sidecar != nil {
		c.command("sidecar", f.Sidecar.Command, f.Sidecar.User)
		c.ready("sidecar", f.Sidecar.Ready)
		c.sockets("sidecar", f.Sidecar.Listen)
	}
	for i, h := range f.Hosts {
		c.host(fmt.Sprintf("hosts[%d] %q", i, h.Name), h, f.Sidecar != nil)
	}
	c.uids(f)
	c.references(f)
	c.doors(f)
	return errors.Join(c.mistakes...)
}

func (c *checker) name(where, name string) {
	if !label.MatchString(name) {
		c.failf("%s: %q is not a name: want lower case letters, digits and dashes, at most 63", where, name)
	}
}

func (c *checker) take(where, name string) {
	c.name(where, name)
	if earlier, taken := c.names[name]; taken {
		c.failf("%s: the name is taken by %s", where, earlier)
	}
	c.names[name] = where
}

func (c *checker) network(n Network) {
	if !n.Hub.IsValid() || !n.Hub.Addr().Is4() {
		c.failf("network.hub: want an IPv4 address with its network")
		return
	}
	if !n.Workloads.IsValid() || !n.Hub.Contains(n.Workloads.Addr()) || n.Workloads.Bits() < n.Hub.Bits() {
		c.failf("network.workloads: %v is not inside %v", n.Workloads, n.Hub.Masked())
	}
	if n.ProxyMark == 0 {
		c.failf("network.proxyMark: must not be 0")
	}
	if n.Redirect.Inbound == 0 || n.Redirect.Outbound == 0 {
		c.failf("network.redirect: inbound and outbound must be ports")
	}
	for _, prefix := range n.Redirect.ExcludeOutbound {
		if !prefix.Addr().Is4() {
			c.failf("network.redirect.excludeOutbound: %v is not IPv4", prefix)
		}
	}
}

func (c *checker) command(where string, command Command, user string) {
	if command.Program == "" {
		c.failf("%s: command is missing", where)
	}
	if _, known := c.users[user]; !known {
		c.failf("%s: user %q is not in users", where, user)
	}
	for name := range command.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			c.failf("%s: env: %q is not the name of a variable", where, name)
		}
	}
}

func (c *checker) ready(where string, r Ready) {
	ways := 0
	for _, way := range []string{r.Socket, r.URL, r.TCP} {
		if way != "" {
			ways++
		}
	}
	if ways > 1 {
		c.failf("%s: ready: socket, url and tcp exclude each other", where)
	}
	if r.Socket != "" && !socketName.MatchString(r.Socket) {
		c.failf("%s: ready: %q is not the name of a socket", where, r.Socket)
	}
	if (r.Socket != "") != (r.Path != "") {
		c.failf("%s: ready: socket and path go together", where)
	}
}

// maxSockets is how many sockets a process can be given.
const maxSockets = 8

func (c *checker) sockets(where string, sockets []Socket) {
	if len(sockets) > maxSockets {
		c.failf("%s: listen: %d sockets, want %d at most", where, len(sockets), maxSockets)
	}
	taken := map[Socket]bool{}
	for _, s := range sockets {
		if s.Network != "tcp" && s.Network != "udp" {
			c.failf("%s: listen: network %q, want tcp or udp", where, s.Network)
		}
		if !s.Address.IsValid() || s.Address.Port() == 0 {
			c.failf("%s: listen: %q is not an address with a port", where, s.Address)
		}
		if taken[s] {
			c.failf("%s: listen: %s %v is there twice", where, s.Network, s.Address)
		}
		taken[s] = true
	}
}

func (c *checker) service(where string, s Service) {
	c.take(where, s.Name)
	c.command(where, s.Command, s.User)
	c.ready(where, s.Ready)
	if s.Account != "" {
		c.name(where+": account", s.Account)
	}
}

func (c *checker) host(where string, h Host, haveSidecar bool) {
	c.take(where, h.Name)
	c.name(where+": namespace", h.Namespace)
	c.name(where+": account", h.Account)
	if h.Service != "" {
		c.name(where+": service", h.Service)
	}
	if h.App == nil && !h.Sidecar {
		c.failf("%s: has neither app nor sidecar", where)
	}
	if h.Sidecar && !haveSidecar {
		c.failf("%s: wants a sidecar, but the file has no sidecar section", where)
	}
	if h.App != nil {
		c.command(where+": app", h.App.Command, h.App.User)
		c.ready(where+": app", h.App.Ready)
	}
	for _, p := range h.Ports {
		if p.Name == "" || p.Number == 0 || p.Protocol == "" {
			c.failf("%s: ports: each needs name, port and protocol", where)
		}
	}
	for key, value := range h.Labels {
		if strings.ContainsAny(key+value, ",=") {
			c.failf("%s: labels: %q: commas and equal signs are not taken", where, key)
		}
	}
}

// literal makes sure that nothing must be looked up to get at a process: names
// mean something else in its network than in the supervisor's.
func (r Ready) literal() error {
	address := r.TCP
	if r.URL != "" {
		u, err := url.Parse(r.URL)
		if err != nil || u.Scheme != "http" {
			return fmt.Errorf("ready: %q is not an http URL", r.URL)
		}
		address = u.Host
	}
	if address == "" {
		return nil
	}
	if _, err := netip.ParseAddrPort(address); err != nil {
		return fmt.Errorf("ready: %q is not an address with a port", address)
	}
	return nil
}

// uids makes sure that nobody else has the uid of an application.
func (c *checker) uids(f File) {
	taken := map[uint32]string{f.RunGroup: "the run group"} // groups have the numbers of their users
	if f.Sidecar != nil {
		taken[f.Users[f.Sidecar.User]] = "the sidecars"
	}
	for _, s := range f.Services {
		taken[f.Users[s.User]] = fmt.Sprintf("service %q", s.Name)
	}
	for i, h := range f.Hosts {
		if h.App == nil {
			continue
		}
		uid := f.AppUID(i)
		if owner, is := taken[uid]; is {
			c.failf("hosts[%d] %q: app: uid %d, which is that of user %q plus %d, is that of %s", i, h.Name, uid, h.App.User, i, owner)
		}
		if uid < f.Users[h.App.User] || uid == math.MaxUint32 {
			c.failf("users: %s: %d leaves no room for a uid for each host", h.App.User, f.Users[h.App.User])
		}
		taken[uid] = fmt.Sprintf("host %q", h.Name)
	}
}

// references checks names that mean something elsewhere in the file.
func (c *checker) references(f File) {
	services := map[string]bool{}
	for _, s := range f.Services {
		services[s.Name] = true
	}
	after := func(where string, names []string) {
		for _, name := range names {
			if !services[name] {
				c.failf("%s: after: there is no service %q", where, name)
			}
		}
	}
	for i, s := range f.Services {
		after(fmt.Sprintf("services[%d] %q", i, s.Name), s.After)
	}
	for i, h := range f.Hosts {
		after(fmt.Sprintf("hosts[%d] %q", i, h.Name), h.After)
	}
	if f.Authority != "" && !services[f.Authority] {
		c.failf("authority: there is no service %q", f.Authority)
	}
}

// doors checks what leads in and out of the hub.
func (c *checker) doors(f File) {
	taken := map[string]bool{}
	for _, p := range f.Publish {
		c.name("publish", p.Name)
		if taken[p.Name] {
			c.failf("publish: %q is there twice", p.Name)
		}
		taken[p.Name] = true
		if !p.To.IsValid() {
			c.failf("publish: %q: to is missing", p.Name)
		}
	}
	for _, r := range f.Reach {
		if !r.Listen.IsValid() || r.Listen.Addr() != f.Network.Hub.Addr() {
			c.failf("reach: listen %v is not a port of the hub %v", r.Listen, f.Network.Hub.Addr())
		}
		if !socketName.MatchString(r.Socket) {
			c.failf("reach: %q is not the name of a socket", r.Socket)
		}
	}
}
