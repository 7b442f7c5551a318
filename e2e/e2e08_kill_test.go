package e2e

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/e2e/load"
	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// killRate is the load while parts are killed, in requests per second.
const killRate = 100

// deepPath is answered with 200 also when ratings, the last hop, was not reached; the
// answer says noRatings then.
const deepPath = "/api/v1/products/0/reviews"

// asksRatings expects that some of the requests for deepPath go all the way.
func (s *site) asksRatings(t *testing.T) {
	t.Helper()
	eventually(t, settleLimit, func(ctx context.Context) error {
		_, answer, err := s.reviews(ctx, "")
		if err == nil && !strings.Contains(answer.Body, `"stars"`) {
			err = fmt.Errorf("no stars, so that nobody asked ratings: %s", answer.Body)
		}
		return err
	})
}

// underLoad does something while requests flow through all hops, and expects that none
// of them fails, at whatever hop.
func (s *site) underLoad(t *testing.T, do func(t *testing.T)) {
	t.Helper()
	s.asksRatings(t)
	g := load.Start(t.Context(), load.Config{
		URL: s.url + deepPath, Wrong: noRatings, Rate: killRate, Connections: 32, Limit: 4 * time.Minute,
	})
	defer g.Stop()
	always(t, time.Second, func(context.Context) error {
		if so := g.So(); len(so.Failures) > 0 {
			return fmt.Errorf("before anything was done: %s", so)
		}
		return nil
	})
	do(t)
	always(t, 2*time.Second, func(context.Context) error { return nil }) // what is late shows
	result := g.Stop()
	t.Logf("under load: %s", result)
	check(t, result.Clean())
}

// backLimit is for a killed part to be back and ready.
const backLimit = 30 * time.Second

// killed ends a process by SIGKILL and waits until another one is ready in its place.
func (s *site) killed(t *testing.T, name string) {
	t.Helper()
	pid := must(s.Kill9(name))(t)
	eventually(t, backLimit, func(context.Context) error {
		p, err := s.Process(name)
		if err == nil && (p.PID == pid || p.PID == 0) {
			err = fmt.Errorf("%s is %s (%s), process %d, and was %d", name, p.Phase, p.Detail, p.PID, pid)
		}
		return errors.Join(err, s.Settled(name))
	})
}

// changes shows that the next change goes through, to every proxy.
func (s *site) changes(t *testing.T) {
	t.Helper()
	for _, version := range []string{"v3", "v2"} {
		s.applyLive(t, s.sample("route-rule-reviews-"+version))
		check(t, s.showsStars(t.Context(), "", version, inRow))
	}
}

// TestE2E08KillPilot and the next ones: kill -9 of one part under load. No request
// fails, the part comes back, and the next change goes through.
func TestE2E08KillPilot(t *testing.T) {
	s := sturdy(t)
	s.applyLive(t, s.sample("route-rule-all-v1"))
	s.applyLive(t, s.sample("route-rule-reviews-v2"))
	before := s.written(t)
	s.underLoad(t, func(t *testing.T) { s.killed(t, "pilot") })
	if diff := cmp.Diff(before, s.written(t)); diff != "" {
		t.Errorf("objects after the kill (-before +after):\n%s", diff)
	}
	eventually(t, settleLimit, func(ctx context.Context) error { return errors.Join(s.connected(ctx), s.inForce(ctx)) })
	s.changes(t)
	s.countsAfterStart(t)
}

// inForceOn is how `apply --wait` ends.
var inForceOn = regexp.MustCompile(`in force on \d+ prox`)

// countsAfterStart shows that a wait counts the proxies that have not yet come back to a
// pilot that has just started.
func (s *site) countsAfterStart(t *testing.T) {
	t.Helper()
	apply := func(version string) mesh.Result {
		return s.outrigger(t, "apply", "--wait", "-f", s.sample("route-rule-reviews-"+version))
	}
	want := inForceOn.FindString(apply("v3").Stderr)
	must(s.Kill9("pilot"))(t)
	var after mesh.Result
	eventually(t, backLimit, func(context.Context) error {
		after = apply("v2")
		return after.Expect(0)
	})
	check(t, s.showsStars(t.Context(), "", "v2", inRow))
	if got := inForceOn.FindString(after.Stderr); got != want || want == "" {
		t.Errorf("right after a start of pilot: %q, want %q as before\n%s", got, want, after)
	}
}

func TestE2E08KillMixer(t *testing.T) {
	s := sturdy(t)
	// Rules that let requests pass without mixer, on every service of the way.
	rule := strings.Replace(denyRule("ALLOW", "200ms"), `destination.labels["app"] == "ratings" && source.labels["version"] == "v3"`,
		`source.labels["app"] == "nobody"`, 1)
	s.applyLive(t, write(t, "policy.yaml", rule), s.sample("mixer-rule-request-count"))
	s.underLoad(t, func(t *testing.T) {
		s.killed(t, "mixer")
		eventually(t, backLimit, func(ctx context.Context) error {
			n, err := s.counted(ctx, "request_count")
			if err == nil && n == 0 {
				err = errors.New("mixer is back and records nothing")
			}
			return err
		})
	})
	s.changes(t)
}

func TestE2E08KillCitadel(t *testing.T) {
	s := sturdy(t)
	bundle := must(s.Bundle(t.Context()))(t)
	s.underLoad(t, func(t *testing.T) { s.killed(t, "citadel-ca") })
	if now := must(s.Bundle(t.Context()))(t); now != bundle {
		t.Error("after the kill the authority is another one")
	}
	s.changes(t)
	// While it is away, running proxies go on and a new workload waits and says for what.
	check(t, s.StopProcess(t.Context(), "reviews-v3"))
	forget(t, s, "reviews-v3")
	check(t, s.StopProcess(t.Context(), "citadel-ca"))
	s.underLoad(t, func(t *testing.T) {
		check(t, s.StartProcess(t.Context(), "reviews-v3"))
		eventually(t, backLimit, func(context.Context) error {
			p, err := s.Process("reviews-v3.sidecar")
			if err == nil && (p.Phase == mesh.PhaseReady || !strings.Contains(strings.ToLower(p.Detail), "certificate")) {
				err = fmt.Errorf("a new workload without citadel-ca is %s: %q, want it to wait for a certificate and say so", p.Phase, p.Detail)
			}
			return err
		})
		always(t, 2*time.Second, func(context.Context) error {
			if s.Settled("reviews-v3.sidecar") == nil {
				return errors.New("a new workload is ready without a certificate")
			}
			return nil
		})
	})
	s.awaitAll(t, "citadel-ca", s.StartProcess)
	s.changes(t)
}

func TestE2E08KillIngressSupervisor(t *testing.T) {
	s := sturdy(t)
	envoy := must(s.EnvoyPID(t.Context(), "ingress"))(t)
	s.underLoad(t, func(t *testing.T) { s.killed(t, "ingress") })
	if now := must(s.EnvoyPID(t.Context(), "ingress"))(t); now != envoy {
		t.Errorf("Envoy was process %d and is %d: it did not outlive its supervisor", envoy, now)
	}
	s.changes(t)
}

// TestE2E08KillSidecarAgents: the registry keeps a workload whose agent was killed, and
// its Envoy goes on as it is.
func TestE2E08KillSidecarAgents(t *testing.T) {
	s := sturdy(t)
	s.applyLive(t, s.sample("route-rule-all-v1"))
	s.applyLive(t, s.sample("route-rule-reviews-v2"))
	// Those who call as well: names are asked for while there is nobody to answer.
	for _, host := range []string{"reviews-v2", "ratings-v1", "productpage-v1"} {
		envoy := must(s.EnvoyPID(t.Context(), host))(t)
		s.underLoad(t, func(t *testing.T) {
			for range 3 {
				s.killed(t, host+".sidecar")
			}
		})
		if now := must(s.EnvoyPID(t.Context(), host))(t); now != envoy {
			t.Errorf("Envoy of %s was process %d and is %d: it did not outlive its agent", host, envoy, now)
		}
	}
	s.changes(t)
}

// newcomer is a service that is first by name and was the last to get an address.
const newcomer = "apiVersion: outrigger.dev/v1\nkind: Service\nmetadata: {name: a-newcomer, namespace: default}\n" +
	"spec: {ports: [{name: http, number: 9080, protocol: HTTP}], selector: {app: reviews}}\n"

// TestE2E08RestartOfEverything: Ctrl-C stops the whole mesh in time and leaves nothing,
// what had been accepted is there afterwards, services at their addresses, and the second
// start is ready within 15 s.
func TestE2E08RestartOfEverything(t *testing.T) {
	s := sturdy(t)
	s.spoilt = true // whatever happens, the next test gets a mesh that knows nothing of this
	s.applyLive(t, s.samples("route-rule-all-v1", "route-rule-reviews-test-v2", "mixer-rule-request-count")...)
	s.applyLive(t, write(t, "newcomer.yaml", newcomer))
	before, addresses := s.written(t), s.virtual(t)
	if len(addresses) < 2 || addresses["Service/default/a-newcomer"] == "" {
		t.Fatalf("services at addresses of their own: %v, want the newcomer among several", addresses)
	}
	s.stopsClean(t)
	began := time.Now()
	base := s.base
	s.start(t)
	s.base = base
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the second start took %v, want 15 s at most", took)
	}
	if diff := cmp.Diff(before, s.written(t)); diff != "" {
		t.Errorf("objects after the restart (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(addresses, s.virtual(t)); diff != "" {
		t.Errorf("addresses of services after the restart (-before +after):\n%s", diff)
	}
	check(t, s.showsStars(t.Context(), "", "v1", inRow))
	check(t, s.showsStars(t.Context(), "jason", "v2", inRow))
}

// virtual are the services' own addresses.
func (s *site) virtual(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for key, o := range s.registry(t) {
		if o.Service != nil && o.Service.Address != "" {
			found[key] = o.Service.Address
		}
	}
	return found
}
