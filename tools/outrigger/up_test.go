package main_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFleetComesUpAndLeavesNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		u := s.start(t)
		t.Run("services have users, tokens and settings", func(t *testing.T) { checkService(t, u) })
		t.Run("workloads are hosts of their own", func(t *testing.T) { checkWorkload(t, u) })
		t.Run("files are closed to others", func(t *testing.T) { checkFiles(t, u) })
		wantIn(t, u.output(), "http://"+u.snapshot(t).Published["ingress"]+"/productpage")

		ended := watch(t, u.members(t))
		began := time.Now()
		u.interrupt(t)
		if code := u.end(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the end took %v", took)
		}
		ended()
		checkOrderlyEnd(t, s)
		left, err := os.ReadDir(s.path("state/run"))
		check(t, err)
		if len(left) > 0 {
			t.Errorf("left in the run folder: %v", left)
		}
	})
}

// checkOrderlyEnd wants that the supervisor outlived the interrupt and asked every process
// to end.
func checkOrderlyEnd(t *testing.T, s *site) {
	log, err := os.ReadFile(s.path("state/log/supervisor.log"))
	check(t, err)
	asked := map[string]bool{}
	for line := range strings.Lines(string(log)) {
		var entry struct {
			Msg, Process string
			Asked        bool
		}
		check(t, json.Unmarshal([]byte(line), &entry))
		if entry.Msg == "ended" {
			asked[entry.Process] = entry.Asked
		}
	}
	want := map[string]bool{"authority": true, "pilot": true, "reviews-v1.sidecar": true, "reviews-v1.app": true, "bare.app": true}
	if d := cmp.Diff(want, asked); d != "" {
		t.Errorf("processes that ended, and whether they were asked to (-want +got):\n%s", d)
	}
}

func checkService(t *testing.T, u *up) {
	who := u.get(t, "ingress", "/")
	id := "spiffe://cluster.local/ns/outrigger-system/sa/pilot"
	wantIn(t, who, "own /proc=true", "host=hub", "capabilities=0000000000000000", `resolver="nameserver 127.0.0.1\n"`)
	wantIn(t, who, fmt.Sprintf(`{"token":"token 1 for %s","id":"%s","bundle":"the bundle"}`, id, id), `"token 2 for`)
	wantIn(t, who, "home=\""+u.site.path("state/pilot")+"\"")
	if u.site.user {
		wantIn(t, who, "uid=0 gid=0")
	} else {
		wantIn(t, who, "uid=1341 gid=1341 groups=[1340]")
	}
	if got := u.status(t, "spare").Phase; got != "held" {
		t.Errorf("the manual service is %s, want held", got)
	}
}

func checkWorkload(t *testing.T, u *up) {
	resolver := `resolver="nameserver 127.0.0.1\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"`
	application := u.get(t, "bare", "/")
	wantIn(t, application, "host=bare", resolver, "capabilities=0000000000000000")
	agent := u.get(t, "sidecar", "/")
	wantIn(t, agent, "host=reviews-v1", resolver)
	if u.site.user {
		wantIn(t, agent, "uid=0", "capabilities=0000000000003400")
	} else {
		wantIn(t, application, "uid=60601 gid=60601 groups=[]")
		wantIn(t, agent, "uid=1337 gid=1337 groups=[]", "capabilities=0000000000000000")
	}
	wantIn(t, u.get(t, "reviews", "/"), "inbound ")
	settings := "name: reviews-v1\naddress: 10.77.1.1\nlabels: app=reviews,version=v1\nports: http:9080:http\n" +
		"id: spiffe://cluster.local/ns/default/sa/bookinfo-reviews\n"
	if got := u.get(t, "sidecar", "/config"); got != settings {
		t.Errorf("sidecar's configuration is %q, want %q", got, settings)
	}
}

func checkFiles(t *testing.T, u *up) {
	state := u.site.path("state")
	for _, name := range []string{"run/fleet.json", "run/fleet.sock", "log/pilot.log", "settings/reviews-v1/agent.yaml"} {
		info, err := os.Stat(filepath.Join(state, name))
		check(t, err)
		if perm := info.Mode().Perm(); perm != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, perm)
		}
	}
	for _, name := range []string{"pilot", "authority", "hosts/reviews-v1", "log", "run/fwd"} {
		info, err := os.Stat(filepath.Join(state, name))
		check(t, err)
		if perm := info.Mode().Perm(); perm != 0o700 {
			t.Errorf("%s has mode %o, want 700", name, perm)
		}
	}
	if u.site.user {
		return
	}
	info, err := os.Stat(filepath.Join(state, "run"))
	check(t, err)
	if mode := info.Mode(); mode != fs.ModeDir|fs.ModeSticky|0o770 {
		t.Errorf("run folder has mode %v, want sticky and closed to others", mode)
	}
}

func TestApplicationIsRedirectedAndReachesOutside(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.edit(t, `app: {command: standin, args: [app, ":9080"], user: application, ready: {tcp: "127.0.0.1:9080"}}`,
			`app: {command: standin, args: [app, ":15021"], user: application, ready: {tcp: "127.0.0.1:15021"}}`)
		s.edit(t, `to: "10.77.1.1:9080"`, `to: "10.77.1.1:15021"`)
		u := s.start(t)
		socket, err := net.Listen("unix", s.path("state/run/otlp.sock"))
		check(t, err)
		defer socket.Close()
		check(t, os.Chmod(s.path("state/run/otlp.sock"), 0o777))
		go http.Serve(socket, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "outside") }))

		for url, want := range map[string]string{
			"http://10.78.0.9:80/":    "outbound ",
			"http://10.77.1.2:9080/":  "outbound ",
			"http://10.77.0.1:4317/":  "outside",
			"http://127.0.0.1:15021/": "own /proc=true host=reviews-v1",
		} {
			if got := u.get(t, "reviews", "/fetch?url="+url); !strings.HasPrefix(got, want) {
				t.Errorf("the application fetched %s and got %q, want %q", url, got, want)
			}
		}
	})
}

func TestKilledFrontTakesEverythingAlong(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		u := s.start(t)
		ended := watch(t, u.members(t))
		check(t, u.command.Process.Kill())
		u.end(t)
		ended()
		if _, err := os.Stat(s.path("state/run/fleet.sock")); err != nil {
			t.Fatalf("a killed fleet has no time to clean up, but: %v", err)
		}
		again := s.start(t)
		wantIn(t, again.get(t, "ingress", "/"), "token 1 for")
	})
}

func TestKilledProcessesComeBackAndProxiesStay(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		u := s.start(t)
		proxy := u.get(t, "reviews", "/")
		for _, name := range []string{"pilot", "reviews-v1.sidecar"} {
			before := u.status(t, name).PID
			check(t, syscall.Kill(before, syscall.SIGKILL))
			u.waitFor(t, name+` +restarting .*signal 9 .*100ms`)
			u.waitFor(t, name+` +ready`)
			after := u.status(t, name)
			if after.PID == before || after.Restarts != 1 {
				t.Errorf("%s has pid %d (was %d) and %d restarts, want another pid and 1", name, after.PID, before, after.Restarts)
			}
		}
		if got := u.get(t, "reviews", "/"); got != proxy {
			t.Errorf("proxy says %q, before its parent was killed it said %q", got, proxy)
		}
	})
}

func TestFleetCommands(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		u := s.start(t)
		say := func(wantCode int, args ...string) string {
			t.Helper()
			code, output := s.run(t, append([]string{"fleet", "--state", "state"}, args...)...)
			if code != wantCode {
				t.Errorf("fleet %v: exit code %d, want %d: %s", args, code, wantCode, output)
			}
			return output
		}
		say(0, "stop", "reviews-v1")
		wantIn(t, say(0, "status"), "reviews-v1.sidecar  stopped", "reviews-v1.app      stopped")
		say(0, "start", "reviews-v1.app")
		u.waitFor(t, `reviews-v1.app +ready`)
		say(0, "restart", "pilot")
		u.waitFor(t, `pilot +stopping`)
		u.waitFor(t, `pilot +ready`)
		say(0, "start", "spare")
		u.waitFor(t, `spare +ready`)
		say(0, "signal", "spare", "KILL")
		u.waitFor(t, `spare +restarting .*signal 9`)
		complete := func(words ...string) string {
			_, output := s.run(t, append([]string{"__complete", "fleet", "--state", "state"}, words...)...)
			return output
		}
		wantIn(t, complete("stop", "reviews"), "reviews-v1\n", "reviews-v1.sidecar\n", "reviews-v1.app\n")
		wantIn(t, complete("signal", "pi"), "pilot\n")
		wantIn(t, say(1, "stop", "nothing"), `no process or host is named "nothing"`)
		wantIn(t, say(1, "signal", "pilot", "NONSENSE"), `there is no signal "NONSENSE"`)
		wantIn(t, say(2, "nonsense"), "nonsense")
	})
}

func TestDeafProcessDoesNotHoldUpTheEnd(t *testing.T) {
	s := newSite(t, true)
	s.edit(t, "    manual: true\n", "")
	u := s.start(t)
	began := time.Now()
	check(t, u.command.Process.Signal(syscall.SIGTERM))
	if code := u.end(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestOneFleetPerStateFolder(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		u := s.start(t)
		code, output := s.run(t, s.upArgs()...)
		if code != 1 {
			t.Errorf("second up: exit code %d, want 1", code)
		}
		wantIn(t, output, fmt.Sprintf("started by process %d", u.command.Process.Pid), "outrigger down --state")
		ended := watch(t, u.members(t))
		code, output = s.run(t, "down", "--state", "state")
		if code != 0 {
			t.Errorf("down: exit code %d: %s", code, output)
		}
		ended()
		if code := u.end(t); code != 0 {
			t.Errorf("up that was stopped by down: exit code %d, want 0", code)
		}
		code, output = s.run(t, "down", "--state", "state")
		if code != 0 {
			t.Errorf("down without a fleet: exit code %d, want 0", code)
		}
		wantIn(t, output, "no fleet runs")
	})
}

func TestKilledSupervisorIsReported(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		u := s.start(t)
		ended := watch(t, u.members(t))
		check(t, syscall.Kill(u.snapshot(t).Supervisor, syscall.SIGKILL))
		u.waitFor(t, `the supervisor broke: signal: killed`)
		if code := u.end(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		ended()
	})
}
