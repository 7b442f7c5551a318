package e2e

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// testApplicationsApart: an application that was taken over can neither signal the
// process of another one, or of a proxy or service, nor take its sockets.
func (s *site) testApplicationsApart(t *testing.T) {
	const taken = "reviews-v3.app"
	pids, owners := map[string]int{}, map[int]string{}
	for _, p := range must(s.Snapshot())(t).Processes {
		pids[p.Name] = p.PID
		if !strings.HasSuffix(p.Name, ".app") {
			continue
		}
		uid := uidOf(t, p.PID)
		if other := owners[uid]; other != "" {
			t.Errorf("%s and %s both have uid %d", other, p.Name, uid)
		}
		owners[uid] = p.Name
	}
	own := uidOf(t, pids[taken])
	if err := as(own, func() error { return unix.Kill(pids[taken], 0) }); err != nil {
		t.Fatalf("uid %d cannot signal %s, so that refusals prove nothing: %v", own, taken, err)
	}
	for name, pid := range pids {
		if name == taken || pid == 0 {
			continue
		}
		if err := as(own, func() error { return unix.Kill(pid, 0) }); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s signals %s: error %v, want %v", taken, name, err, unix.EPERM)
		}
		if err := as(own, func() error { return takeDescriptor(pid) }); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s takes a descriptor of %s: error %v, want %v", taken, name, err, unix.EPERM)
		}
	}
}

func uidOf(t *testing.T, pid int) int {
	t.Helper()
	info := must(os.Stat(fmt.Sprintf("/proc/%d", pid)))(t)
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// takeDescriptor tries to get a copy of a process's standard output.
func takeDescriptor(pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the process: %w", err)
	}
	defer unix.Close(process) //nolint:errcheck // nothing was written to it
	got, err := unix.PidfdGetfd(process, 1, 0)
	if err != nil {
		return err
	}
	return unix.Close(got)
}

// as calls do on a thread that has become another user for good, and ends with it.
func as(uid int, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: nothing else runs on that thread
		id := uintptr(uid)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
			done <- fmt.Errorf("become user %d: %w", uid, errno)
			return
		}
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(call, id, id, id); errno != 0 {
				done <- fmt.Errorf("become user %d: %w", uid, errno)
				return
			}
		}
		done <- do()
	}()
	return <-done
}
