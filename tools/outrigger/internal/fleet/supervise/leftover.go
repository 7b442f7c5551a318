package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// envoyFolder is where, in its own folder, a process keeps what belongs to its Envoy.
const envoyFolder = "envoy"

// killLimit is how long the end of an Envoy by force may take.
const killLimit = time.Second

// Forget implements starter: there is to be no next start, for which its Envoy and its
// sockets are.
func (l *launcher) Forget(p fleet.Process) error {
	l.kept.close(p)
	return l.endEnvoy(p)
}

// endEnvoy ends the Envoy that a process which has ended left behind, if it did.
// An Envoy outlives the process that runs it, for the next start to take it over;
// where there is to be no next start, nobody else ends it.
func (l *launcher) endEnvoy(p fleet.Process) error {
	if p.Kind == fleet.KindApp {
		return nil
	}
	id, err := envoy.Noted(filepath.Join(p.Dir, envoyFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	handle, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", id.PID, err)
	}
	defer func() { _ = unix.Close(handle) }() // nothing was written to it
	// What the handle holds is looked at, which no other process can take the place of.
	if is, err := isProcess(machinePID(handle), id.Start, p.UID); err != nil || !is {
		return err
	}
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end Envoy %d: %w", id.PID, err)
	}
	l.log.Info("Envoy that was left is ended", "process", p.Name, "local_pid", id.PID)
	return awaitHandle(handle, killLimit)
}

// isProcess says whether the process with a number, as the machine counts, began at
// start and is the user's. Pids are used again, the pair with the start is not; the
// user is asked for because one service must not name the process of another.
func isProcess(machine int, start uint64, uid uint32) (bool, error) {
	now, err := envoy.Identify(machine)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH), errors.Is(err, os.ErrProcessDone):
		return false, nil
	case err != nil:
		return false, err
	case now.Start != start:
		return false, nil
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", machine))
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
