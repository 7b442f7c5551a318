package envoytest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/identity"
)

// Build builds a command of the test's module as it is shipped and returns its path.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	path := filepath.Join(Dir(t), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// Program is a process of the mesh under test.
type Program struct {
	t   testing.TB
	cmd *exec.Cmd
	log bytes.Buffer
}

// Start runs a program. With a prover, it inherits a descriptor with a proof. The
// program is stopped at the end of the test, which shows its log if it failed.
func Start(t testing.TB, prover identity.Prover, path string, args ...string) *Program {
	t.Helper()
	p := &Program{t: t, cmd: exec.Command(path, args...)} // ours; it is stopped by Stop
	p.cmd.Stderr = &p.log
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if prover != nil {
		p.cmd.Env = append(p.cmd.Env, "OUTRIGGER_JOIN_FD=3")
		p.cmd.ExtraFiles = []*os.File{join(t, prover)}
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(path), p.log.Bytes())
		}
	})
	return p
}

// PID returns the process id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Stop signals and waits; it does nothing when the program has ended. An end with an
// error after SIGTERM is one of the test.
func (p *Program) Stop(sig syscall.Signal) {
	p.t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Signal(sig) // it may have ended: Wait says how
	if err := p.cmd.Wait(); err != nil && sig == syscall.SIGTERM {
		p.t.Errorf("%s: %v", filepath.Base(p.cmd.Path), err)
	}
}

// join returns one end of a socket with a proof in it.
func join(t testing.TB, prover identity.Prover) *os.File {
	t.Helper()
	proof, err := prover.Prove(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "join"), os.NewFile(uintptr(fds[1]), "join")
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	if err := json.NewEncoder(ours).Encode(proof); err != nil {
		t.Fatal(err)
	}
	return theirs
}

// Wait returns when ok does; its text says what was seen last. The test fails after d.
func Wait(t testing.TB, d time.Duration, what string, ok func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for {
		done, last := ok()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no %s in time: %s", what, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
