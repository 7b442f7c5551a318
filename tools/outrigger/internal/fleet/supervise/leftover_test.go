package supervise

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// bystander starts a process that hangs and returns it with its start time.
func bystander(t *testing.T) (process *exec.Cmd, start uint64) {
	t.Helper()
	process = exec.Command("sleep", "600")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill() // it may have ended
		_ = process.Wait()
	})
	if err := process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if _, err := fmt.Sscan(strings.Fields(rest)[19], &start); err != nil {
		t.Fatal(err)
	}
	return process, start
}

func TestOnlyTheEnvoyThatWasNotedIsEnded(t *testing.T) {
	l := &launcher{log: slog.New(slog.DiscardHandler)}
	process, start := bystander(t)
	own := uint32(os.Getuid()) //nolint:gosec // as the kernel counts
	pid := process.Process.Pid
	lives := func() bool {
		is, err := isProcess(pid, start, own)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	cases := []struct {
		name, note string
		kind       fleet.Kind
		uid        uint32
		wantLives  bool
		wantErr    bool
	}{
		{name: "no note", kind: fleet.KindService, uid: own, wantLives: true},
		{name: "a successor with its pid", note: fmt.Sprintf("%d %d\n", pid, start+1), kind: fleet.KindService, uid: own, wantLives: true},
		{name: "another user's", note: fmt.Sprintf("%d %d\n", pid, start), kind: fleet.KindService, uid: own + 1, wantLives: true},
		{name: "an application's", note: fmt.Sprintf("%d %d\n", pid, start), kind: fleet.KindApp, uid: own, wantLives: true},
		{name: "everything", note: "-1 7\n", kind: fleet.KindService, uid: own, wantLives: true, wantErr: true},
		{name: "no numbers", note: "pid", kind: fleet.KindService, uid: own, wantLives: true, wantErr: true},
		{name: "it", note: fmt.Sprintf("%d %d\n", pid, start), kind: fleet.KindSidecar, uid: own},
		{name: "one that has ended", note: fmt.Sprintf("%d %d\n", pid, start), kind: fleet.KindSidecar, uid: own},
	}
	for _, c := range cases {
		p := fleet.Process{Name: "one", Kind: c.kind, UID: c.uid, Dir: t.TempDir()}
		if c.note != "" {
			path := filepath.Join(p.Dir, "envoy", "envoy.pid")
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(c.note), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.endEnvoy(p); (err != nil) != c.wantErr {
			t.Errorf("%s: error %v, want one: %v", c.name, err, c.wantErr)
		}
		if got := lives(); got != c.wantLives {
			t.Errorf("%s: the process lives: %v, want %v", c.name, got, c.wantLives)
		}
	}
}
