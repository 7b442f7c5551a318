package agent_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/envoy/envoytest"
)

const (
	firstNames  = `{"result":{"revision":"1","names":[{"host":"reviews.default.svc.cluster.local","addresses":["10.78.0.4"]}]}}`
	secondNames = `{"result":{"revision":"2","names":[{"host":"reviews.default.svc.cluster.local","addresses":["10.78.0.5"]}]}}`
	entryPath   = "/v1/workloads/default/reviews-v1"
)

func TestSidecarFromStartToEnd(t *testing.T) {
	f := newFleet(t, time.Hour)
	p := f.start(true)
	f.waitWaiting("/readyz", "Envoy: clusters from pilot")
	f.pilot.Set(f.world(7))
	f.waitWaiting("/readyz", "names from pilot")
	if err := f.lookup("reviews", nil); err == nil {
		t.Error("name before the first table: no error")
	}
	f.registry.setNames(firstNames)
	f.waitReady("/readyz")
	f.waitReady("/readyz/workload")
	f.entryIs(map[string]any{
		"address": "127.0.0.1", "account": "bookinfo-reviews", "state": "READY", "lease": "30s",
		"labels": map[string]any{"app": "reviews", "version": "v1"},
		"ports":  map[string]any{"http": float64(f.app.Addr().(*net.TCPAddr).Port)},
	})
	if err := f.lookup("reviews", []string{"10.78.0.4"}); err != nil {
		t.Error(err)
	}
	f.metricsHave("outrigger_agent_ready 1", "outrigger_agent_workload_ready 1", "outrigger_agent_envoy_up 1",
		"outrigger_agent_acknowledged_revision 7", "outrigger_agent_registered 1", "outrigger_agent_dns_names 1")
	_ = f.app.Close()
	f.waitWaiting("/readyz/workload", "application")
	f.registered("PUT " + entryPath + " NOT_READY")
	f.waitReady("/readyz")
	pid := f.envoyPID()
	p.Stop(syscall.SIGTERM)
	want := []string{
		"PUT " + entryPath + " NOT_READY", "PUT " + entryPath + " READY", "PUT " + entryPath + " NOT_READY",
		"PUT " + entryPath + " DRAINING", "DELETE " + entryPath,
	}
	if got := f.registry.asked(); !slices.Equal(got, want) {
		t.Errorf("pilot was asked %q, want %q", got, want)
	}
	if syscall.Kill(pid, 0) == nil {
		t.Errorf("Envoy %d is there after the agent ended", pid)
	}
}

func TestDrainBeforeTheEnd(t *testing.T) {
	f := newFleet(t, time.Hour)
	f.registry.setNames(firstNames)
	f.pilot.Set(f.world(1))
	f.start(true)
	f.waitReady("/readyz/workload")
	// Not for any process of the workload.
	if code := drain(t, f.status.String(), http.DefaultClient); code != http.StatusNotFound {
		t.Errorf("drain at the port: status %d, want %d", code, http.StatusNotFound)
	}
	path := filepath.Join(f.dir, "state", "status.sock")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v, want 0600", path, info.Mode())
	}
	own := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
	if code := drain(t, "agent", own); code != http.StatusAccepted {
		t.Errorf("drain at the socket: status %d, want %d", code, http.StatusAccepted)
	}
	f.registered("PUT " + entryPath + " DRAINING")
	f.waitWaiting("/readyz/workload", "it drains")
	f.waitReady("/readyz")
}

func drain(t *testing.T, host string, client *http.Client) (status int) {
	t.Helper()
	res, err := client.Post("http://"+host+"/drain", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// The kernel accepts connections for a process that hangs.
func TestHungApplicationIsTakenOutOfTheRegistry(t *testing.T) {
	f := newFleet(t, time.Hour)
	f.health = "/health"
	f.registry.setNames(firstNames)
	f.pilot.Set(f.world(1))
	f.start(true)
	f.waitWaiting("/readyz/workload", "application: it accepts connections and does not answer in time")
	app := newHangable(t, f.app)
	f.waitReady("/readyz/workload")
	app.hang()
	f.registered("PUT " + entryPath + " NOT_READY")
	f.waitWaiting("/readyz/workload", "application: it accepts connections and does not answer in time")
	f.waitReady("/readyz")
	app.goOn()
	f.registered("PUT " + entryPath + " READY")
	f.waitReady("/readyz/workload")
}

func TestKilledAgentIsReplacedWithoutEnvoyNoticing(t *testing.T) {
	f := newFleet(t, time.Hour)
	f.registry.setNames(firstNames)
	f.pilot.Set(f.world(1))
	p := f.start(true)
	f.waitReady("/readyz/workload")
	pid := f.envoyPID()
	p.Stop(syscall.SIGKILL)
	if err := f.api.Close(); err != nil {
		t.Fatal(err)
	}
	f.start(false)
	f.waitReady("/readyz")
	f.waitWaiting("/readyz/workload", "registration: pilot has not taken it")
	if now := f.envoyPID(); now != pid {
		t.Errorf("Envoy is process %d, want %d as before", now, pid)
	}
	if err := f.lookup("reviews.default", []string{"10.78.0.4"}); err != nil {
		t.Errorf("while pilot is away, after a restart: %v", err)
	}
	f.metricsHave("outrigger_agent_envoy_starts_total 0", "outrigger_agent_dns_names_fresh 0")
}

func TestAnAgentThatTakesOverAReadyProxyNeverSaysNotReady(t *testing.T) {
	f := newFleet(t, time.Hour)
	f.registry.setNames(firstNames)
	f.pilot.Set(f.world(1))
	p := f.start(true)
	f.waitReady("/readyz/workload")
	said := len(f.registry.asked())
	for range 3 {
		p.Stop(syscall.SIGKILL)
		f.registry.entryLost() // to see that each agent says something
		p = f.start(false)
		f.waitReady("/readyz/workload")
	}
	if after := f.registry.asked()[said-1:]; !slices.Equal(after, []string{"PUT " + entryPath + " READY"}) {
		t.Errorf("pilot was told %q by agents that took over, want nothing but READY", after)
	}
	if f.registry.last()["state"] != "READY" {
		t.Errorf("entry after three kills: %v", f.registry.last())
	}
	// What has changed in between is said: the application is no longer there.
	p.Stop(syscall.SIGKILL)
	_ = f.app.Close()
	f.start(false)
	f.registered("PUT " + entryPath + " NOT_READY")
}

func TestRenewedCertificateReachesEnvoy(t *testing.T) {
	f := newFleet(t, 4*time.Second)
	f.registry.setNames(firstNames)
	f.pilot.Set(f.world(1))
	f.start(true)
	f.waitReady("/readyz/workload")
	first := f.serials()
	envoytest.Wait(f.t, 10*time.Second, "second certificate in Envoy", func() (bool, string) {
		now := f.serials()
		return len(now) == 1 && now[0] != first[0], fmt.Sprint(first, now)
	})
	f.registry.setNames(secondNames)
	envoytest.Wait(f.t, 5*time.Second, "names by the newer certificate", func() (bool, string) {
		err := f.lookup("reviews", []string{"10.78.0.5"})
		return err == nil, fmt.Sprint(err)
	})
	f.metricsHave("outrigger_agent_sds_refusals_total 0", "outrigger_agent_ready 1")
}

func TestItSaysThatItWaitsForTheAuthority(t *testing.T) {
	f := newFleet(t, time.Hour)
	f.ca.URL = "https://127.0.0.1:1"
	f.start(true)
	f.waitWaiting("/readyz", "certificate: citadel-ca at https://127.0.0.1:1")
	if pid := f.envoyPID(); pid != 0 {
		t.Errorf("Envoy %d was started without a certificate", pid)
	}
}

// The bound is on what is resident while all runs and nothing happens, but for
// renewals.
func TestResidentMemory(t *testing.T) {
	const limit, samples = 7_000_000, 40 // bytes
	f := newFleet(t, 16*time.Second)
	f.health = "/health"
	newHangable(t, f.app) // which does not
	f.registry.setNames(firstNames)
	f.pilot.Set(f.world(1))
	p := f.start(true)
	f.waitReady("/readyz/workload")
	first := f.serials()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var sizes []int
	for range samples {
		<-tick.C
		sizes = append(sizes, resident(t, p.PID()))
	}
	if now := f.serials(); slices.Equal(first, now) {
		t.Errorf("no certificate was renewed in between: it is still %q", now)
	}
	slices.Sort(sizes)
	median := sizes[len(sizes)/2]
	t.Logf("resident: median %d KiB, least %d, most %d", median, sizes[0], sizes[len(sizes)-1])
	if median<<10 > limit {
		t.Errorf("resident: median %d KiB, want at most %d bytes; all: %v", median, limit, sizes)
	}
}

// resident returns Rss of a process in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[0] == "Rss:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no Rss in %s", data)
	return 0
}

// lookup asks the agent's DNS by Go's own resolver; want nil means any.
func (f *fleet) lookup(name string, want []string) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, f.dns.String())
	}}
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Second)
	defer cancel()
	got, err := r.LookupHost(ctx, name+".")
	if err == nil && want != nil && !slices.Equal(got, want) {
		return fmt.Errorf("%s has %q, want %q", name, got, want)
	}
	return err
}

func (f *fleet) admin() *envoy.Admin {
	return envoy.NewAdmin(envoy.AdminSocket(filepath.Join(f.dir, "state", "envoy")))
}

// envoyPID returns Envoy's process id, 0 if it does not answer.
func (f *fleet) envoyPID() int {
	pid, err := f.admin().Process(f.t.Context())
	if err != nil {
		return 0
	}
	return pid
}

func (f *fleet) serials() []string {
	f.t.Helper()
	certs, err := f.admin().Certificates(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	var out []string
	for _, c := range certs {
		out = append(out, c.Serial)
	}
	return out
}

func (f *fleet) registered(line string) {
	f.t.Helper()
	envoytest.Wait(f.t, 10*time.Second, line, func() (bool, string) {
		all := f.registry.asked()
		return len(all) > 0 && all[len(all)-1] == line, fmt.Sprint(all)
	})
}

func (f *fleet) entryIs(want map[string]any) {
	f.t.Helper()
	if got := fmt.Sprint(f.registry.last()); got != fmt.Sprint(want) {
		f.t.Errorf("registered %s, want %v", got, want)
	}
}

func (f *fleet) metricsHave(want ...string) {
	f.t.Helper()
	_, body := f.get("/metrics")
	for _, line := range want {
		if !slices.Contains(strings.Split(body, "\n"), line) {
			f.t.Errorf("no metric %q in:\n%s", line, body)
		}
	}
}
