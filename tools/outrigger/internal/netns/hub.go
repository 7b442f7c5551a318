package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	bridgeName = "br0"
	workerName = "eth0"
)

// Hub is the namespace in the middle: a bridge with an address, on which the
// workloads' namespaces hang. It is not safe for concurrent use.
type Hub struct {
	space  *Space
	prefix netip.Prefix
	links  *netlink.Handle
	bridge netlink.Link
	used   map[netip.Addr]bool
}

// NewHub turns the calling thread's network namespace, which must be fresh, into
// a hub: loopback up, and a bridge that has the given address and network.
func NewHub(address netip.Prefix) (*Hub, error) {
	if !address.IsValid() || !address.Addr().Is4() {
		return nil, fmt.Errorf("hub address %v: want an IPv4 address with its network, as 10.77.0.1/16", address)
	}
	space, err := Current()
	if err != nil {
		return nil, err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink: %w", err), space.Close())
	}
	h := &Hub{space: space, prefix: address, links: links, used: map[netip.Addr]bool{address.Addr(): true}}
	if err := h.build(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *Hub) build() error {
	if err := tune(hubSysctls); err != nil {
		return err
	}
	if err := up(h.links, "lo"); err != nil {
		return err
	}
	// A bridge takes the lowest address of its ports unless it is given one,
	// and then changes it when a port is added, which the neighbours learn late.
	hardware := net.HardwareAddr{0x0a, 0x77, 0, 0, 0, 1}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, HardwareAddr: hardware, TxQLen: -1}}
	if err := h.links.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge %s: %w", bridgeName, err)
	}
	h.bridge = bridge
	if err := addAddress(h.links, bridge, h.prefix); err != nil {
		return err
	}
	return up(h.links, bridgeName)
}

// Space is the hub's own namespace, owned by the Hub.
func (h *Hub) Space() *Space { return h.space }

// Attach makes a namespace for one workload: loopback up, an interface with the
// given address that leads to the bridge, and the hub as default route. The
// address must be in the hub's network and not be taken.
func (h *Hub) Attach(address netip.Addr) (*Space, error) {
	if !h.prefix.Contains(address) {
		return nil, fmt.Errorf("workload address %v is not in the hub's network %v", address, h.prefix.Masked())
	}
	if h.used[address] {
		return nil, fmt.Errorf("workload address %v is taken", address)
	}
	space, err := New()
	if err != nil {
		return nil, err
	}
	if err := h.connect(space, address); err != nil {
		return nil, errors.Join(fmt.Errorf("workload %v: %w", address, err), space.Close())
	}
	h.used[address] = true
	return space, nil
}

func (h *Hub) connect(space *Space, address netip.Addr) error {
	port := fmt.Sprintf("port%d", len(h.used))
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: port, MasterIndex: h.bridge.Attrs().Index, TxQLen: -1},
		PeerName:      workerName,
		PeerNamespace: netlink.NsFd(space.FD()),
	}
	if err := h.links.LinkAdd(pair); err != nil {
		return fmt.Errorf("add link %s: %w", port, err)
	}
	if err := up(h.links, port); err != nil {
		return err
	}
	return space.Do(func() error {
		return configure(netip.PrefixFrom(address, h.prefix.Bits()), h.prefix.Addr())
	})
}

// configure sets up the calling thread's namespace as a workload's.
func configure(address netip.Prefix, gateway netip.Addr) error {
	if err := tune(workloadSysctls); err != nil {
		return err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer links.Close()
	if err := up(links, "lo"); err != nil {
		return err
	}
	link, err := links.LinkByName(workerName)
	if err != nil {
		return fmt.Errorf("link %s: %w", workerName, err)
	}
	if err := addAddress(links, link, address); err != nil {
		return err
	}
	if err := up(links, workerName); err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}
	if err := links.RouteAdd(route); err != nil {
		return fmt.Errorf("add default route by %v: %w", gateway, err)
	}
	return nil
}

// Close lets go of the hub's descriptors. Namespaces made by Attach are the
// caller's to close.
func (h *Hub) Close() error {
	h.links.Close()
	return h.space.Close()
}

func up(links *netlink.Handle, name string) error {
	link, err := links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if err := links.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up link %s: %w", name, err)
	}
	return nil
}

func addAddress(links *netlink.Handle, link netlink.Link, address netip.Prefix) error {
	network := &net.IPNet{IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), 32)}
	if err := links.AddrAdd(link, &netlink.Addr{IPNet: network}); err != nil {
		return fmt.Errorf("give address %v to %s: %w", address, link.Attrs().Name, err)
	}
	return nil
}

// sysctl is one setting of a network namespace.
type sysctl struct {
	path, value string
	optional    bool // the kernel may lack the feature that it sets
}

// Services without privileges bind low ports (DNS at 53). IPv6 is off but for
// loopback, so that no traffic goes round the IPv4 redirect.
var workloadSysctls = []sysctl{
	{path: "net/ipv4/ip_unprivileged_port_start", value: "0"},
	{path: "net/ipv6/conf/all/disable_ipv6", value: "1", optional: true},
	{path: "net/ipv6/conf/default/disable_ipv6", value: "1", optional: true},
	{path: "net/ipv6/conf/lo/disable_ipv6", value: "0", optional: true},
}

// Frames that only cross the bridge are no business of the hub's packet filter.
var hubSysctls = append([]sysctl{
	{path: "net/bridge/bridge-nf-call-iptables", value: "0", optional: true},
}, workloadSysctls...)

func tune(settings []sysctl) error {
	for _, s := range settings {
		err := os.WriteFile("/proc/sys/"+s.path, []byte(s.value), 0)
		if errors.Is(err, fs.ErrNotExist) && s.optional {
			continue
		}
		if err != nil {
			return fmt.Errorf("set %s to %s: %w", s.path, s.value, err)
		}
	}
	return nil
}
