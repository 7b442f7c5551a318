package netns_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/netns"
)

func TestInstallRefusesRulesWithoutMeaning(t *testing.T) {
	space, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	good := netns.Redirect{Inbound: 15006, Outbound: 15001, Proxy: netns.Proxy{UID: 1337}}
	cases := map[string]struct {
		change func(*netns.Redirect)
		want   string
	}{
		"no inbound port":    {func(r *netns.Redirect) { r.Inbound = 0 }, "inbound and the outbound"},
		"no outbound port":   {func(r *netns.Redirect) { r.Outbound = 0 }, "inbound and the outbound"},
		"no proxy":           {func(r *netns.Redirect) { r.Proxy = netns.Proxy{} }, "uid or by its mark"},
		"two proxies":        {func(r *netns.Redirect) { r.Proxy.Mark = 7 }, "uid or by its mark"},
		"empty port range":   {func(r *netns.Redirect) { r.ExcludeInbound = []netns.PortRange{{First: 9, Last: 8}} }, "ends before"},
		"IPv6 network":       {func(r *netns.Redirect) { r.ExcludeOutbound = []netip.Prefix{netip.MustParsePrefix("::/0")} }, "not IPv4"},
		"network of nothing": {func(r *netns.Redirect) { r.ExcludeOutbound = make([]netip.Prefix, 1) }, "not IPv4"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			broken := good
			c.change(&broken)
			if err := broken.Install(space); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one that says %q", err, c.want)
			}
		})
	}
}
