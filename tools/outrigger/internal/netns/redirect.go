package netns

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Redirect says which TCP connections of a workload go through its sidecar.
//
// Coming in: every connection to one of the workload's addresses goes to port
// Inbound, but for the ports in ExcludeInbound. Going out: every connection of
// the application to another host goes to port Outbound, but for the networks
// in ExcludeOutbound. The proxy's own connections pass untouched, so that they
// do not return to it; the one exception is a proxy that reaches its own
// workload by the workload's address (the application called a service of which
// it is itself an endpoint): that goes to Inbound like any peer's call.
//
// The application talking to itself, by 127.0.0.0/8 or by the workload's
// address, is left alone. A proxy that must hand a connection to the
// application at the workload's own address binds HandoverSource first.
type Redirect struct {
	Inbound, Outbound uint16
	ExcludeInbound    []PortRange
	ExcludeOutbound   []netip.Prefix // IPv4
	Proxy             Proxy
}

// PortRange is the ports from First to Last, both included.
type PortRange struct {
	First, Last uint16
}

// Proxy says how the proxy's traffic is told from the application's. Exactly one
// field is set.
type Proxy struct {
	UID  uint32 // of the proxy's sockets
	Mark uint32 // SO_MARK that the proxy puts on its sockets
}

// HandoverSource is the loopback address whose connections are never redirected.
var HandoverSource = netip.AddrFrom4([4]byte{127, 0, 0, 6})

const tableName = "outrigger"

// Install writes the rules into the namespace, in one transaction.
func (r Redirect) Install(space *Space) error {
	if err := r.check(); err != nil {
		return err
	}
	// The library finds namespaces by thread number, which is another one in
	// /proc where the caller lives in a process namespace; so it is called inside.
	return space.Do(r.write)
}

func (r Redirect) write() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	install(conn, table, &nftables.Chain{
		Name: "inbound", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	}, r.inbound())
	install(conn, table, &nftables.Chain{
		Name: "outbound", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	}, r.outbound())
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nftables rules: %w", err)
	}
	return nil
}

func install(conn *nftables.Conn, table *nftables.Table, chain *nftables.Chain, rules []rule) {
	conn.AddChain(chain)
	for _, each := range rules {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: each})
	}
}

func (r Redirect) check() error {
	if r.Inbound == 0 || r.Outbound == 0 {
		return errors.New("redirect: both the inbound and the outbound port must be given")
	}
	if (r.Proxy.UID == 0) == (r.Proxy.Mark == 0) {
		return errors.New("redirect: the proxy is known by its uid or by its mark, one of them")
	}
	for _, ports := range r.ExcludeInbound {
		if ports.First > ports.Last {
			return fmt.Errorf("redirect: port range %d-%d ends before it begins", ports.First, ports.Last)
		}
	}
	for _, prefix := range r.ExcludeOutbound {
		if !prefix.IsValid() || !prefix.Addr().Is4() {
			return fmt.Errorf("redirect: excluded network %v is not IPv4", prefix)
		}
	}
	return nil
}

// rule is what one nftables rule is made of: matches, then what to do.
type rule []expr.Any

func (r Redirect) inbound() []rule {
	var rules []rule
	for _, ports := range r.ExcludeInbound {
		rules = append(rules, when(tcp(), destinationPort(ports), leave()))
	}
	return append(rules, when(tcp(), redirectTo(r.Inbound)))
}

func (r Redirect) outbound() []rule {
	loopback := netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	rules := []rule{
		when(source(netip.PrefixFrom(HandoverSource, 32)), leave()),
		when(destination(loopback), leave()),
	}
	for _, ports := range r.ExcludeInbound {
		rules = append(rules, when(overLoopback(), tcp(), destinationPort(ports), leave()))
	}
	rules = append(rules,
		when(overLoopback(), r.Proxy.sent(), tcp(), redirectTo(r.Inbound)),
		when(overLoopback(), leave()),
		when(r.Proxy.sent(), leave()),
	)
	for _, prefix := range r.ExcludeOutbound {
		rules = append(rules, when(destination(prefix), leave()))
	}
	return append(rules, when(tcp(), redirectTo(r.Outbound)))
}

func (p Proxy) sent() []expr.Any {
	if p.UID != 0 {
		return metaIs(expr.MetaKeySKUID, native32(p.UID))
	}
	return metaIs(expr.MetaKeyMARK, native32(p.Mark))
}
