package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// envoyNote is where, in its own folder, a process notes which Envoy it runs:
// "<pid> <start time in clock ticks since boot>\n", the pid as counted in the fleet.
const envoyNote = "envoy/envoy.pid"

const (
	maxNote   = 64 // bytes
	killLimit = time.Second
)

// EndEnvoy ends the Envoy that a process which has ended left behind, if it did.
// An Envoy outlives the process that runs it, for the next start to take it over;
// where there is to be no next start, nobody else ends it.
func (l *launcher) EndEnvoy(p fleet.Process) error {
	if p.Kind == fleet.KindApp {
		return nil
	}
	path := filepath.Join(p.Dir, envoyNote)
	pid, start, err := readNote(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if pid <= 1 {
		return fmt.Errorf("%s: %d is not the pid of an Envoy", path, pid)
	}
	handle, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(handle) }() // nothing was written to it
	// What the handle holds is looked at, which no other process can take the place of.
	if is, err := isProcess(machinePID(handle), start, p.UID); err != nil || !is {
		return err
	}
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end Envoy %d: %w", pid, err)
	}
	l.log.Info("Envoy that was left is ended", "process", p.Name, "local_pid", pid)
	return awaitHandle(handle, killLimit)
}

// readNote reads a file that belongs to a process, which may have put anything there.
func readNote(path string) (pid int, start uint64, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("Envoy's pid file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxNote))
	if err != nil {
		return 0, 0, fmt.Errorf("Envoy's pid file: %w", err)
	}
	if _, err := fmt.Sscanf(string(text), "%d %d\n", &pid, &start); err != nil {
		return 0, 0, fmt.Errorf("Envoy's pid file %s: %w", path, err)
	}
	return pid, start, nil
}

// isProcess says whether the process with a number, as the machine counts, began at
// start and is the user's. Pids are used again, the pair with the start is not; the
// user is asked for because one service must not name the process of another.
func isProcess(machine int, start uint64, uid uint32) (bool, error) {
	folder := filepath.Join("/proc", strconv.Itoa(machine))
	stat, err := os.ReadFile(folder + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at process %d: %w", machine, err)
	}
	// The second field is the command in parentheses, with any byte in it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[19] != strconv.FormatUint(start, 10) {
		return false, nil
	}
	status, err := os.ReadFile(folder + "/status")
	if err != nil {
		return false, fmt.Errorf("look at process %d: %w", machine, err)
	}
	owner := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "Uid:"); found {
			// The real one, and the three that could be another.
			return !slices.ContainsFunc(strings.Fields(rest), func(each string) bool { return each != owner }), nil
		}
	}
	return false, nil
}

// awaitHandle waits for the end of a process.
func awaitHandle(handle int, limit time.Duration) error {
	for until := time.Now().Add(limit); ; {
		fds := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}} //nolint:gosec // a descriptor is small
		left := max(0, time.Until(until))
		n, err := unix.Poll(fds, int(left.Milliseconds()))
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the end of an Envoy: %w", err)
		case left == 0:
			return errors.New("an Envoy is there after SIGKILL")
		}
	}
}
