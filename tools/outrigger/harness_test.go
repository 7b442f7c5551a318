package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// nobody stands for any ordinary user.
const nobody = 65534

// built holds the binaries of the tests.
var built string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "outrigger-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	build := exec.Command("go", "build", "-o", folder+"/", ".", "./testdata/standin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, output)
		return 1
	}
	built = folder
	return m.Run()
}

// eachMode runs a test as root, where the tests run as root, and always as an
// ordinary user.
func eachMode(t *testing.T, test func(t *testing.T, s *site)) {
	if os.Geteuid() == 0 {
		t.Run("root", func(t *testing.T) { test(t, newSite(t, false)) })
	}
	t.Run("user", func(t *testing.T) { test(t, newSite(t, true)) })
}

// site is a folder with all that a fleet needs, closed to all but who runs it.
type site struct {
	folder string
	user   bool
}

func newSite(t *testing.T, user bool) *site {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "site-")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	s := &site{folder: folder, user: user}
	for _, name := range []string{"bin", "config"} {
		check(t, os.Mkdir(s.path(name), 0o755))
	}
	for name, from := range map[string]string{
		"bin/outrigger": built + "/outrigger", "bin/standin": built + "/standin",
		"bin/envoy": built + "/standin", "fleet.yaml": "testdata/fleet.yaml",
	} {
		text, err := os.ReadFile(from)
		check(t, err)
		check(t, os.WriteFile(s.path(name), text, 0o755))
	}
	s.own(t)
	return s
}

// own gives everything in the site to the user who runs the fleet.
func (s *site) own(t *testing.T) {
	t.Helper()
	if !s.user || os.Geteuid() != 0 {
		return
	}
	check(t, filepath.WalkDir(s.folder, func(path string, _ os.DirEntry, err error) error {
		check(t, err)
		return os.Lchown(path, nobody, nobody)
	}))
}

func (s *site) path(name string) string { return filepath.Join(s.folder, name) }

// edit changes the fleet file.
func (s *site) edit(t *testing.T, old, new string) {
	t.Helper()
	text, err := os.ReadFile(s.path("fleet.yaml"))
	check(t, err)
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("fleet file has no %q", old)
	}
	check(t, os.WriteFile(s.path("fleet.yaml"), bytes.Replace(text, []byte(old), []byte(new), 1), 0o755))
}

// command is `outrigger` with arguments, as the user of the site.
func (s *site) command(args ...string) *exec.Cmd {
	command := exec.Command(s.path("bin/outrigger"), args...)
	command.Dir = s.folder
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "NO_COLOR=1"}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.user && os.Geteuid() == 0 {
		command.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return command
}

func (s *site) upArgs(more ...string) []string {
	return append([]string{"up", "--state", "state", "--fleet", "fleet.yaml", "--bin", "bin", "--envoy", "bin/envoy", "--free-ports"}, more...)
}

// run runs `outrigger` to its end.
func (s *site) run(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	return finish(t, s.command(args...))
}

// finish runs a command to its end.
func finish(t *testing.T, command *exec.Cmd) (code int, output string) {
	t.Helper()
	var text bytes.Buffer
	command.Stdout, command.Stderr = &text, &text
	check(t, command.Start())
	timer := time.AfterFunc(patience, func() { command.Process.Kill() })
	defer timer.Stop()
	command.Wait()
	return command.ProcessState.ExitCode(), text.String()
}

// up is `outrigger up` while it runs.
type up struct {
	site    *site
	command *exec.Cmd
	lines   chan string

	mu   sync.Mutex
	text strings.Builder
}

// start starts a fleet and waits until it is ready.
func (s *site) start(t *testing.T, more ...string) *up {
	t.Helper()
	u := s.launch(t, more...)
	u.waitFor(t, `^ready in \d+\.\d+s$`)
	return u
}

func (s *site) launch(t *testing.T, more ...string) *up {
	t.Helper()
	u := &up{site: s, command: s.command(s.upArgs(more...)...), lines: make(chan string, 10000)}
	output, err := u.command.StdoutPipe()
	check(t, err)
	u.command.Stderr = u.command.Stdout
	check(t, u.command.Start())
	go func() {
		defer close(u.lines)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			u.mu.Lock()
			u.text.WriteString(scanner.Text() + "\n")
			u.mu.Unlock()
			u.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		u.command.Process.Kill()
		u.command.Wait()
		if t.Failed() {
			t.Logf("output of up:\n%s", u.output())
		}
	})
	return u
}

func (u *up) output() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.text.String()
}

// waitFor waits for a line of the output that was not waited for yet.
func (u *up) waitFor(t *testing.T, pattern string) {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	late := time.After(patience)
	for {
		select {
		case line, ok := <-u.lines:
			if !ok {
				t.Fatalf("up ended without saying %q", pattern)
			}
			if wanted.MatchString(line) {
				return
			}
		case <-late:
			t.Fatalf("up did not say %q", pattern)
		}
	}
}

// interrupt is Ctrl-C at a terminal: it goes to the whole process group.
func (u *up) interrupt(t *testing.T) {
	t.Helper()
	check(t, syscall.Kill(-u.command.Process.Pid, syscall.SIGINT))
}

// end waits until up has ended and returns its exit code.
func (u *up) end(t *testing.T) int {
	t.Helper()
	timer := time.AfterFunc(patience, func() { u.command.Process.Kill() })
	defer timer.Stop()
	for range u.lines {
	}
	u.command.Wait()
	return u.command.ProcessState.ExitCode()
}

func (u *up) snapshot(t *testing.T) fleet.Snapshot {
	t.Helper()
	text, err := os.ReadFile(u.site.path("state/run/fleet.json"))
	check(t, err)
	var s fleet.Snapshot
	check(t, json.Unmarshal(text, &s))
	return s
}

func (u *up) status(t *testing.T, name string) fleet.Status {
	t.Helper()
	for _, row := range u.snapshot(t).Processes {
		if row.Name == name {
			return row
		}
	}
	t.Fatalf("no process %q in the snapshot", name)
	return fleet.Status{}
}

func (u *up) members(t *testing.T) []fleet.Member {
	t.Helper()
	code, output := u.site.run(t, "fleet", "status", "--state", "state", "-o", "json")
	if code != 0 {
		t.Fatalf("fleet status: exit code %d: %s", code, output)
	}
	var response fleet.Response
	check(t, json.Unmarshal([]byte(output), &response))
	return response.Members
}

// get asks at a published port.
func (u *up) get(t *testing.T, name, path string) string {
	t.Helper()
	body, err := fetch("http://" + u.snapshot(t).Published[name] + path)
	check(t, err)
	return body
}

func fetch(url string) (body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// watch opens processes so that their end can be waited for.
func watch(t *testing.T, members []fleet.Member) (ended func()) {
	t.Helper()
	fds := map[int]int{}
	for _, m := range members {
		fd, err := unix.PidfdOpen(m.PID, 0)
		check(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		fds[m.PID] = fd
	}
	return func() {
		t.Helper()
		for pid, fd := range fds {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(poll, int(patience.Milliseconds())); n != 1 || err != nil {
				t.Errorf("process %d still runs (%v)", pid, err)
			}
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIn(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in %q", part, text)
		}
	}
}
