package envoy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// State is what Envoy said about itself at one moment.
type State struct {
	Info
	Listeners    []Listener
	Certificates []LoadedCertificate
	// LDS and CDS are the revisions of the last accepted responses; 0 before the first.
	LDS, CDS uint64
	// Warming counts listeners that wait for what they need.
	Warming int
}

// Acknowledged is the revision that both listeners and clusters have reached.
func (s State) Acknowledged() uint64 { return min(s.LDS, s.CDS) }

// Wanted is what a proxy must show to be ready.
type Wanted struct {
	NodeID string
	// Identity is the SPIFFE ID of its certificate.
	Identity string
	// Listeners are addresses that must accept connections; one with the
	// unspecified address is content with any address of that port.
	Listeners []netip.AddrPort
}

// Waiting says what s lacks at now, "" if the proxy is ready. For people.
func (w Wanted) Waiting(s State, now time.Time) string {
	switch {
	case s.NodeID != w.NodeID:
		return fmt.Sprintf("Envoy: another one (%q) answers on the admin socket", s.NodeID)
	case s.CDS == 0:
		return "Envoy: clusters from pilot"
	case s.LDS == 0:
		return "Envoy: listeners from pilot"
	case s.State != "LIVE":
		return "Envoy: it says " + s.State
	}
	if !slices.ContainsFunc(s.Certificates, func(c LoadedCertificate) bool {
		return slices.Contains(c.URIs, w.Identity) && now.Before(c.NotAfter)
	}) {
		return "Envoy: a valid certificate of " + w.Identity
	}
	for _, want := range w.Listeners {
		if !slices.ContainsFunc(s.Listeners, func(l Listener) bool { return matches(l.Address, want) }) {
			return fmt.Sprintf("Envoy: a listener on %s (%d warming)", want, s.Warming)
		}
	}
	return ""
}

func matches(have, want netip.AddrPort) bool {
	return have.Port() == want.Port() &&
		(have.Addr() == want.Addr() || want.Addr().IsUnspecified() || have.Addr().IsUnspecified())
}

// State asks for everything that readiness depends on.
func (a *Admin) State(ctx context.Context) (State, error) {
	info, err := a.Info(ctx)
	if err != nil {
		return State{}, err
	}
	s := State{Info: info}
	const lds, cds, warming = "listener_manager.lds.version_text", "cluster_manager.cds.version_text", "listener_manager.total_listeners_warming"
	stats, err := a.Stats(ctx, strings.ReplaceAll(lds+"|"+cds+"|"+warming, ".", `\.`))
	if err != nil {
		return State{}, err
	}
	s.LDS, s.CDS = revision(stats[lds]), revision(stats[cds])
	s.Warming = int(revision(stats[warming]))
	if s.Listeners, err = a.Listeners(ctx); err != nil {
		return State{}, err
	}
	if s.Certificates, err = a.Certificates(ctx); err != nil {
		return State{}, err
	}
	return s, nil
}

// revision is 0 for a text that is none.
func revision(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
