package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// makeLimit is how long `make run` may take when everything has to be compiled first.
const makeLimit = 10 * time.Minute

// makeCommand is make in the repository, in a process group of its own as a shell starts
// it, without what the make tells us that may have started the tests.
func makeCommand(root mesh.Root, args ...string) *exec.Cmd {
	command := exec.Command("make", args...)
	command.Dir = string(root)
	command.Env = slices.DeleteFunc(os.Environ(), func(setting string) bool {
		return strings.HasPrefix(setting, "MAKE") || strings.HasPrefix(setting, "MFLAGS=")
	})
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return command
}

// TestMakeBuildSaysWhatItBuilds: on a fresh machine this takes minutes, and whoever waits
// sees how far it is.
func TestMakeBuildSaysWhatItBuilds(t *testing.T) {
	root := must(mesh.FindRoot())(t)
	text, err := makeCommand(root, "build", "BIN="+t.TempDir(), "GO=true").CombinedOutput()
	check(t, err)
	want := []string{"bookinfo", "citadel-ca", "egress", "ingress", "mixer", "pilot", "sidecar-agent", "outrigger"}
	if d := cmp.Diff(want, strings.Fields(string(text))); d != "" {
		t.Errorf("what make build prints where nothing is built yet (-want +got):\n%s", d)
	}
}

// TestMakeRun: the one command of the README starts the mesh and says what to open and to
// try, and Ctrl-C, which a terminal sends to make and all that it has started, ends it.
func TestMakeRun(t *testing.T) {
	running.only(t, "")
	m := must(mesh.New(mesh.Config{Root: must(mesh.FindRoot())(t)}))(t)
	t.Cleanup(func() { check(t, m.Remove()) })
	r := startMake(t, m, "run", "ARGS=--state "+m.State+" --free-ports")
	said := r.ready(t)

	namespaces := must(m.Namespaces())(t)
	open := must(m.IngressURL())(t) + "/productpage"
	if !strings.Contains(said, "\nopen  "+open+"\n") {
		t.Errorf("nothing says to open %s:\n%s", open, said)
	}
	if try := section(said, "try"); len(try) != 3 || !strings.Contains(try[0], open) {
		t.Errorf("to try there are %q, want three lines, the first with the page", try)
	}
	note := strings.Join(section(said, "note"), " ")
	for _, want := range []string{filepath.Join(m.State, "citadel-ca", "authority.key"), "protects copies of the sealed file only"} {
		if !strings.Contains(note, want) {
			t.Errorf("the note lacks %q: %s", want, note)
		}
	}
	response, err := http.Get(open)
	check(t, err)
	defer response.Body.Close()
	var body bytes.Buffer
	must(body.ReadFrom(response.Body))(t)
	if p := readPage(mesh.Answer{Status: response.StatusCode, Body: body.String()}); p.Status != http.StatusOK || p.Hops["details"] != "answered" || p.Hops["reviews"] != "answered" {
		t.Errorf("%s: %s", open, p)
	}

	began := time.Now()
	check(t, syscall.Kill(-r.pid, syscall.SIGINT))
	r.end(t)
	if took := time.Since(began); took >= stopLimit {
		t.Errorf("it took %v to stop, want less than %v", took, stopLimit)
	}
	check(t, m.Leftover(namespaces))
}

// section is the lines below a title in what `outrigger up` says.
func section(said, title string) []string {
	_, rest, _ := strings.Cut(said, "\n"+title+"\n")
	rest, _, _ = strings.Cut(rest, "\n\n")
	return strings.Split(strings.TrimSpace(rest), "\n")
}

// makeRun is a make that runs.
type makeRun struct {
	pid   int
	out   *os.File // ends with the last process that holds it
	said  bytes.Buffer
	ended <-chan error
}

func startMake(t *testing.T, m *mesh.Mesh, args ...string) *makeRun {
	t.Helper()
	out, in, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { out.Close() })
	command := makeCommand(m.Root, args...)
	command.Stdout, command.Stderr = in, in
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the signal at our death is sent at the death of the thread
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			ended <- command.Wait()
		}
	}()
	check(t, <-started)
	check(t, in.Close())
	r := &makeRun{pid: command.Process.Pid, out: out, ended: ended}
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(-r.pid, syscall.SIGKILL) // it may have ended
			t.Logf("make printed:\n%s", &r.said)
		}
	})
	return r
}

// read reads on until what was said has an end that is wanted, or nobody can say more.
func (r *makeRun) read(t *testing.T, limit time.Duration, wanted *regexp.Regexp) bool {
	t.Helper()
	check(t, r.out.SetReadDeadline(time.Now().Add(limit)))
	piece := make([]byte, 4096)
	for wanted == nil || !wanted.Match(r.said.Bytes()) {
		n, err := r.out.Read(piece)
		r.said.Write(piece[:n])
		if err != nil {
			if os.IsTimeout(err) {
				t.Fatalf("make goes on after %v and has printed:\n%s", limit, &r.said)
			}
			return false
		}
	}
	return true
}

// ready waits for the whole greeting and returns what was said.
func (r *makeRun) ready(t *testing.T) string {
	t.Helper()
	greeting := regexp.MustCompile(`(?ms)^ready in \d+\.\d+s$.*^Ctrl-C stops everything\.$`)
	if !r.read(t, makeLimit, greeting) {
		t.Fatalf("make run ended: %v", <-r.ended)
	}
	return r.said.String()
}

// end waits until make and all that could print have ended. How make ends at an interrupt
// is its own affair.
func (r *makeRun) end(t *testing.T) {
	t.Helper()
	r.read(t, 2*stopLimit, nil)
	<-r.ended
}
