package agent

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/register"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/status"
)

// How often the application's ports are tried: often until it is up.
const (
	probeDown    = 200 * time.Millisecond
	probeUp      = 2 * time.Second
	probeTimeout = time.Second
)

// watchWorkload tells the registration whether proxy and application are up, until ctx
// ends. It says nothing of an Envoy that was taken over before that is known: while
// agents change, the entry stays as the earlier one left it.
func (s *sidecar) watchWorkload(ctx context.Context) error {
	for {
		changed := s.proxy.watch.Changed()
		s.app.Store(s.accepts(ctx))
		_, waiting := s.proxy.waiting()
		if ready := s.app.Load() && waiting == ""; ready || !s.app.Load() || s.proxy.watch.Known() {
			s.registration.Set(ready)
		}
		pause := probeDown
		if s.app.Load() {
			pause = probeUp
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(pause):
		}
	}
}

// accepts reports whether the application takes connections on all of its ports.
func (s *sidecar) accepts(ctx context.Context) bool {
	d := net.Dialer{Timeout: probeTimeout}
	for _, p := range s.config.Ports {
		conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.Number).String())
		if err != nil {
			return false
		}
		_ = conn.Close()
	}
	return true
}

// Report implements status.Agent.
func (s *sidecar) Report() status.Report {
	state, waiting := s.proxy.waiting()
	pid, starts := s.proxy.process.PID()
	r := status.Report{
		Proxy: waiting, EnvoyUp: pid != 0, EnvoyStarts: starts, EnvoyState: state.Info.State,
		EnvoyVersion: state.Version, Acknowledged: state.Acknowledged(),
	}
	if c := s.source.Current(); c != nil {
		r.CertificateNotAfter = c.NotAfter
	}
	r.SecretPushes, r.SecretRefusals = s.proxy.sds.Pushes()
	s.reportRegistry(&r)
	return r
}

func (s *sidecar) reportRegistry(r *status.Report) {
	if s.registration == nil {
		r.Workload = r.Proxy
		return
	}
	table := s.names.Table()
	if table != nil {
		r.Names, r.NamesFresh = table.Len(), s.names.Fresh()
	} else if r.Proxy == "" {
		r.Proxy = "names from pilot"
	}
	if s.resolver != nil {
		r.DNSAnswers = s.resolver.Answers()
	}
	wanted, taken, count := s.registration.State()
	r.Registered, r.Registrations = string(taken), count
	switch r.Workload = r.Proxy; {
	case r.Workload != "":
	case wanted == register.Draining:
		r.Workload = "nothing: it drains"
	case !s.app.Load():
		r.Workload = "application: it does not accept connections on its ports"
	case taken != register.Ready:
		r.Workload = "registration: pilot has not taken it"
	}
}

// Drain implements status.Agent.
func (s *sidecar) Drain() {
	if s.registration != nil {
		s.registration.Drain()
	}
}
