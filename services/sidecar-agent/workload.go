package agent

import (
	"context"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/register"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/status"
)

// watchWorkload tells the registration whether proxy and application are up, until ctx
// ends. It says nothing of either, but that both are well, before it is known: while
// agents change, the entry stays as the earlier one left it.
func (s *sidecar) watchWorkload(ctx context.Context) error {
	for {
		changed := s.proxy.watch.Changed()
		pause := s.app.ask(ctx)
		app, known := s.app.state()
		_, waiting := s.proxy.waiting()
		if ready := app == "" && waiting == ""; ready || known && (app != "" || s.proxy.watch.Known()) {
			s.registration.Set(ready)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(pause):
		}
	}
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
	app, _ := s.app.state()
	r.Registered, r.Registrations = string(taken), count
	switch r.Workload = r.Proxy; {
	case r.Workload != "":
	case wanted == register.Draining:
		r.Workload = "nothing: it drains"
	case app != "":
		r.Workload = app
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
