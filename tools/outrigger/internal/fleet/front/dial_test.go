package front

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// nobody is a user who runs no mesh.
const nobody = 65534

// behind is a state folder with a socket that somebody listens at.
type behind struct {
	state string
	run   string
}

// socketOf makes a state folder in which uid listens at run/pilot.grpc.sock. Only root
// can have another user listen.
func socketOf(t *testing.T, uid int) behind {
	t.Helper()
	state, err := os.MkdirTemp("", "dial") // t.TempDir's parent lets nobody else through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(state); err != nil {
			t.Error(err)
		}
	})
	b := behind{state: state, run: filepath.Join(state, fleet.RunFolder)}
	for _, err := range []error{os.Chmod(state, 0o711), os.Mkdir(b.run, 0o700), os.Chmod(b.run, 0o777)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	listener := listenAs(t, filepath.Join(b.run, "pilot.grpc.sock"), uid)
	t.Cleanup(func() { _ = listener.Close() })
	b.mode(t, 0o700)
	return b
}

// listenAs listens in a thread that has another user for as long as that takes.
func listenAs(t *testing.T, path string, uid int) net.Listener {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := os.Geteuid()
	if uid != own {
		become(t, uid)
		defer become(t, own)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Error(err)
	}
	return listener
}

// become changes the effective user of this thread alone.
func become(t *testing.T, uid int) {
	t.Helper()
	keep := ^uintptr(0)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
		t.Errorf("become uid %d: %v", uid, errno)
	}
}

func (b behind) mode(t *testing.T, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(b.run, mode); err != nil {
		t.Fatal(err)
	}
}

// says writes the fleet's description: pilot runs as uid.
func (b behind) says(t *testing.T, uid uint32, mode os.FileMode) {
	t.Helper()
	text, err := json.Marshal(fleet.Snapshot{Processes: []fleet.Status{
		{Name: "mixer", Kind: fleet.KindService, UID: 1}, {Name: "pilot", Kind: fleet.KindService, UID: uid},
	}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.run, fleet.SnapshotFile)
	if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func (b behind) owner(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
}

// wantDial dials pilot's socket; "" is an answer, else a part of the refusal.
func (b behind) wantDial(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := Dial(ctx, b.state, "pilot.grpc.sock")
	if err == nil {
		_ = conn.Close()
	}
	var refusal *Refusal
	if want == "" && err != nil || want != "" && (!errors.As(err, &refusal) || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestDialWhereOthersCouldListen(t *testing.T) {
	for mode, want := range map[os.FileMode]string{
		0o700: "", 0o711: "", 0o770 | os.ModeSticky: "",
		0o770: "can be written by a group", 0o777: "can be written by everybody", 0o777 | os.ModeSticky: "can be written by everybody",
	} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			b := socketOf(t, os.Geteuid())
			b.mode(t, mode)
			b.wantDial(t, want)
		})
	}
}

func TestDialWhereNobodyAnswersIsNoRefusal(t *testing.T) {
	b := socketOf(t, os.Geteuid())
	if err := os.Remove(filepath.Join(b.run, "pilot.grpc.sock")); err != nil {
		t.Fatal(err)
	}
	var refusal *Refusal
	if _, err := Dial(t.Context(), b.state, "pilot.grpc.sock"); err == nil || errors.As(err, &refusal) {
		t.Errorf("got %v, want an error that is no refusal", err)
	}
}

// Whom an ordinary user cannot become, an ordinary user can at least be told of.
func TestWhoRunsAService(t *testing.T) {
	own := []uint32{uint32(os.Geteuid())}
	for name, c := range map[string]struct {
		service  string
		mode     os.FileMode
		believed []uint32
		want     string
	}{
		"as the fleet says":             {"pilot", 0o600, own, "[1341]"},
		"another service":               {"citadel-ca", 0o600, own, "[]"},
		"a file that others can write":  {"pilot", 0o622, own, "[]"},
		"a file that a group can write": {"pilot", 0o620, own, "[]"},
		"a file of another":             {"pilot", 0o600, []uint32{own[0] + 1}, "[]"},
	} {
		b := socketOf(t, os.Geteuid())
		b.says(t, 1341, c.mode)
		if got := fmt.Sprint(serviceUIDs(b.run, c.service, c.believed)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestDialAnotherUser needs two users. Who is not root has only one: then what it shows
// is that one's own folder, in which another is expected, is as good as before.
func TestDialAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		b := socketOf(t, os.Geteuid())
		b.says(t, nobody, 0o600)
		b.wantDial(t, "")
		return
	}
	for name, c := range map[string]struct {
		set  func(t *testing.T, b behind)
		want string
	}{
		"a stranger":                {func(*testing.T, behind) {}, "a process of uid 65534"},
		"a stranger among services": {func(t *testing.T, b behind) { b.says(t, 1341, 0o600); b.mode(t, 0o770|os.ModeSticky) }, "a process of uid 65534"},
		"the user of the service":   {func(t *testing.T, b behind) { b.says(t, nobody, 0o600); b.mode(t, 0o770|os.ModeSticky) }, ""},
		"a stranger's word": {func(t *testing.T, b behind) {
			b.says(t, nobody, 0o600)
			b.owner(t, filepath.Join(b.run, fleet.SnapshotFile), nobody)
		}, "a process of uid 65534"},
		"a stranger's folder":            {func(t *testing.T, b behind) { b.owner(t, b.run, nobody) }, "belongs to uid 65534"},
		"the owner of the state folder":  {func(t *testing.T, b behind) { b.owner(t, b.state, nobody) }, ""},
		"the owner, in their own folder": {func(t *testing.T, b behind) { b.owner(t, b.state, nobody); b.owner(t, b.run, nobody) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := socketOf(t, nobody)
			c.set(t, b)
			b.wantDial(t, c.want)
		})
	}
}

// A stranger at the control socket is told nothing, not even what is asked.
func TestAskSaysNothingToAStranger(t *testing.T) {
	b := socketOf(t, os.Geteuid())
	listener := listenAs(t, filepath.Join(b.run, fleet.ControlSocket), os.Geteuid())
	defer listener.Close()
	b.mode(t, 0o777)
	heard := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			heard <- ""
			return
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		heard <- line
	}()
	_, err := Ask(t.Context(), b.state, fleet.Request{Op: "status"})
	if err == nil || !strings.Contains(err.Error(), "can be written by everybody") {
		t.Errorf("got %v, want a refusal", err)
	}
	_ = listener.Close()
	if line := <-heard; line != "" {
		t.Errorf("the stranger heard %q", line)
	}
}
