package front

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// sweep removes what a fleet leaves in its state folder and is of no use to the next:
// the state file and sockets, also those of processes that were killed. A socket at
// which somebody still listens is not the fleet's, whose processes have all ended, and
// stays.
func sweep(state string) error {
	run := filepath.Join(state, fleet.RunFolder)
	if err := os.RemoveAll(filepath.Join(run, fleet.ForwardFolder)); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	var failures []error
	err := filepath.WalkDir(state, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // a folder that cannot be looked into is not the fleet's
		}
		if err != nil {
			return err
		}
		isSocket := entry.Type()&fs.ModeSocket != 0
		isOurs := filepath.Dir(path) == run && strings.Contains(entry.Name(), fleet.SnapshotFile)
		if isOurs || isSocket && !answers(path) {
			failures = append(failures, os.Remove(path))
		}
		return nil
	})
	if err := errors.Join(append(failures, err)...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// answers says whether somebody listens at a Unix socket.
func answers(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return !errors.Is(err, unix.ECONNREFUSED)
	}
	conn.Close()
	return true
}
