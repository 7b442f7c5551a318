package envoy_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
)

func TestReadyOnceConfigIsInForceAndStaysSoWithoutPilot(t *testing.T) {
	for name, world := range map[string]bool{"delta": false, "state of the world": true} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t)
			p.config.StateOfTheWorld = world
			p.run(time.Second)
			p.wait("Envoy: clusters from pilot")
			p.pilot.Set(p.world(7))
			s := p.wait("")
			if s.Acknowledged() != 7 || s.Info.State != "LIVE" || s.Version != "1.40.0" {
				t.Errorf("ready with %+v, want revision 7 and LIVE", s)
			}
			if got := p.pilot.Nodes(); !slices.Equal(got, []string{p.config.Node.ID()}) {
				t.Errorf("pilot saw nodes %q, want one, %q", got, p.config.Node.ID())
			}
			w := p.world(8)
			w.Listeners[0].Body = append(w.Listeners[0].Body, 0xff)
			p.pilot.Set(w)
			p.waitRefused()
			if s := p.state(); s.LDS != 7 {
				t.Errorf("after a refusal: revision of listeners %d, want 7", s.LDS)
			}
			p.pilot.Close()
			if s := p.state(); s.LDS != 7 || p.waiting() != "" {
				t.Errorf("pilot gone: revision %d, waiting for %q, want 7 and nothing", s.LDS, p.waiting())
			}
		})
	}
}

func TestListenersAreWaitedFor(t *testing.T) {
	p := newProxy(t)
	p.run(0)
	w := p.world(3)
	listeners := w.Listeners
	w.Listeners = nil
	p.pilot.Set(w)
	p.wait("Envoy: a listener on " + p.listen.String() + " (0 warming)")
	w.Revision, w.Listeners = 4, listeners
	p.pilot.Set(w)
	p.wait("")
	if got := p.get(); got != "hello" {
		t.Errorf("through the listener: %q, want hello", got)
	}
}

func TestRenewedCertificateReachesEnvoy(t *testing.T) {
	for _, api := range []string{"GRPC", "DELTA_GRPC"} {
		t.Run(api, func(t *testing.T) {
			p := newProxy(t)
			p.sdsAPI = api
			p.run(0)
			p.pilot.Set(p.world(1))
			p.wait("")
			if got, want := p.serials(), []string{serial(t, p.secrets.Current())}; !slices.Equal(got, want) {
				t.Errorf("certificates in use %q, want %q", got, want)
			}
			next := p.issue()
			p.secrets.set(next)
			deadline := within(t, 10*time.Second)
			for !slices.Contains(p.serials(), serial(t, next)) {
				p.tick(deadline, "renewed certificate in use")
			}
			if p.waiting() != "" {
				t.Errorf("while renewing: waiting for %q", p.waiting())
			}
		})
	}
}

func TestEnvoyOutlivesItsSupervisorAndIsTakenOver(t *testing.T) {
	p := newProxy(t)
	first := startSupervisor(t, p)
	p.pilot.Set(p.world(1))
	p.attach()
	deadline := within(t, 20*time.Second)
	for p.state().Acknowledged() != 1 {
		p.tick(deadline, "config in force")
	}
	pid := p.envoyPID()
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // "signal: killed"
	if got := p.get(); got != "hello" {
		t.Errorf("after the supervisor was killed: %q, want hello", got)
	}
	stop := p.run(0)
	p.known(func(waiting string) bool { return waiting == "" })
	if now, starts := p.process.PID(); now != pid || starts != 0 {
		t.Errorf("second supervisor has process %d after %d starts, want %d after 0", now, starts, pid)
	}
	next := p.issue()
	p.secrets.set(next)
	for !slices.Contains(p.serials(), serial(t, next)) {
		p.tick(deadline, "certificate from the second supervisor")
	}
	stop()
	if _, err := p.admin.Info(t.Context()); err == nil {
		t.Errorf("process %d answers after stop", pid)
	}
}

func TestAnotherBootstrapMeansAnotherEnvoy(t *testing.T) {
	p := newProxy(t)
	supervisor := startSupervisor(t, p)
	p.pilot.Set(p.world(1))
	p.attach()
	pid := p.envoyPID()
	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = supervisor.Wait()
	p.config.MaxConnections = 100
	p.run(0)
	p.known(func(waiting string) bool { return waiting != "" })
	p.wait("")
	if now, starts := p.process.PID(); now == pid || starts != 1 {
		t.Errorf("process %d after %d starts, want another than %d after 1", now, starts, pid)
	}
}

// One that is taken over and not ready is given a while, not for ever.
func TestEnvoyThatIsTakenOverAndNotReadyIsKnownInTheEnd(t *testing.T) {
	p := newProxy(t)
	supervisor := startSupervisor(t, p)
	p.attach()
	pid := p.envoyPID()
	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = supervisor.Wait()
	begun := time.Now()
	p.run(0)
	p.known(func(waiting string) bool { return waiting == "Envoy: clusters from pilot" })
	if took := time.Since(begun); took < 4*time.Second { // a busy machine only makes it longer
		t.Errorf("known after %s, want that it is given 5s", took)
	}
	if now, starts := p.process.PID(); now != pid || starts != 0 {
		t.Errorf("process %d after %d starts, want %d after 0", now, starts, pid)
	}
}

func TestEnvoyThatDiesIsStartedAgain(t *testing.T) {
	p := newProxy(t)
	p.run(0)
	p.pilot.Set(p.world(1))
	p.wait("")
	pid, _ := p.process.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := within(t, 20*time.Second)
	for now := pid; now == pid || now == 0; now, _ = p.process.PID() {
		p.tick(deadline, "another process")
	}
	p.wait("")
	if got := p.get(); got != "hello" {
		t.Errorf("through the new Envoy: %q, want hello", got)
	}
}

func TestHungEnvoyIsNotReadyUntilItGoesOn(t *testing.T) {
	p := newProxy(t)
	p.run(0)
	p.pilot.Set(p.world(1))
	p.wait("")
	pid, _ := p.process.PID()
	for _, step := range []struct {
		signal syscall.Signal
		want   string
	}{{syscall.SIGSTOP, "Envoy: it does not answer"}, {syscall.SIGCONT, ""}} {
		if err := syscall.Kill(pid, step.signal); err != nil {
			t.Fatal(err)
		}
		p.wait(step.want)
	}
	if now, starts := p.process.PID(); now != pid || starts != 1 {
		t.Errorf("process %d after %d starts, want %d after 1", now, starts, pid)
	}
}

func TestStopLetsConnectionsEnd(t *testing.T) {
	p := newProxy(t)
	stop := p.run(10 * time.Second)
	p.pilot.Set(p.world(1))
	p.wait("")
	conn, err := net.Dial("tcp", p.listen.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // a test
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	deadline := within(t, 10*time.Second)
	for n := 0; n != 1; n, err = p.admin.Connections(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		p.tick(deadline, "connection in Envoy")
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	for p.state().Info.State != "DRAINING" {
		p.tick(deadline, "draining")
	}
	if _, err := io.WriteString(conn, "\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 OK") || !strings.Contains(string(answer), "connection: close") {
		t.Errorf("request in flight while draining: %q, %v", answer, err)
	}
	select {
	case <-stopped:
	case <-time.After(8 * time.Second):
		t.Error("not stopped although the last connection ended")
	}
}

func TestSecretsStayBetweenThem(t *testing.T) {
	p := newProxy(t)
	p.run(0)
	p.pilot.Set(p.world(1))
	p.wait("")
	err := filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := os.Stat(path)
		if err == nil && st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", path, st.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *proxy) get() string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(within(p.t, 5*time.Second), http.MethodGet, "http://"+p.listen.String()+"/", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close() // a test
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *proxy) serials() []string {
	p.t.Helper()
	var out []string
	for _, c := range p.state().Certificates {
		out = append(out, c.Serial)
	}
	return out
}

func (p *proxy) waitRefused() {
	p.t.Helper()
	deadline := within(p.t, 5*time.Second)
	for len(p.pilot.Refused()) == 0 {
		p.tick(deadline, "refusal")
	}
}

// tick waits a moment, or ends the test when ctx is over.
func (p *proxy) tick(ctx context.Context, what string) {
	p.t.Helper()
	select {
	case <-ctx.Done():
		p.t.Fatalf("no %s in time", what)
	case <-time.After(20 * time.Millisecond):
	}
}

func serial(t *testing.T, c *identity.Certificate) string {
	t.Helper()
	blk, _ := pem.Decode(c.ChainPEM)
	leaf, err := x509.ParseCertificate(blk.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf.SerialNumber.Text(16)
}
