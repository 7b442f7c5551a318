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

// sweep removes what a fleet leaves in the run folder. A socket at which somebody
// still listens is not the fleet's, whose processes have all ended, and stays.
func sweep(state string) error {
	run := filepath.Join(state, fleet.RunFolder)
	if err := os.RemoveAll(filepath.Join(run, fleet.ForwardFolder)); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	entries, err := os.ReadDir(run)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	var failures []error
	for _, entry := range entries {
		path := filepath.Join(run, entry.Name())
		isSocket := entry.Type()&fs.ModeSocket != 0
		isOurs := strings.Contains(entry.Name(), fleet.SnapshotFile)
		if isOurs || isSocket && !answers(path) {
			failures = append(failures, os.Remove(path))
		}
	}
	return errors.Join(failures...)
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
