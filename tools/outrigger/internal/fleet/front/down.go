package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// downPatience is how long a fleet that is asked to stop may take.
const downPatience = 15 * time.Second

// Down stops the fleet of a state folder and returns when nothing is left of it.
// No fleet there is no error.
func Down(ctx context.Context, state string, out io.Writer) error {
	path := filepath.Join(state, lockName)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "no fleet runs on %s\n", state)
		return nil
	}
	if err != nil {
		return &Refusal{Problem: "the state folder " + state + " cannot be used", Cause: err, Advice: "run this as the user who started the fleet"}
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		fmt.Fprintf(out, "no fleet runs on %s\n", state)
		return sweep(state)
	}
	pid, err := runner(state)
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	if err := process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	if err := awaitFree(ctx, file, downPatience); err != nil {
		if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
		if err := awaitFree(ctx, file, lockPatience); err != nil {
			return fmt.Errorf("process %d and its fleet do not end: %w", pid, err)
		}
	}
	fmt.Fprintf(out, "the fleet on %s has stopped\n", state)
	return sweep(state)
}

// runner returns the process that runs the fleet, on which the state file and the
// lock must agree.
func runner(state string) (int, error) {
	holder, err := lockHolder(filepath.Join(state, lockName))
	if err != nil {
		return 0, fmt.Errorf("find out who runs the fleet: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(state, fleet.RunFolder, fleet.SnapshotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return holder, nil // it starts or stops just now
	}
	if err != nil {
		return 0, fmt.Errorf("find out who runs the fleet: %w", err)
	}
	var s fleet.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, fmt.Errorf("find out who runs the fleet: %s: %w", fleet.SnapshotFile, err)
	}
	if s.PID != holder {
		return 0, fmt.Errorf("process %d says that it runs the fleet on %s, but process %d holds its lock", s.PID, state, holder)
	}
	return holder, nil
}

// awaitFree waits until the lock can be taken.
func awaitFree(ctx context.Context, file *os.File, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
