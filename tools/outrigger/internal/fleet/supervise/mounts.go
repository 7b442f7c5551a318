package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// privateMounts cuts the supervisor's mounts off from the machine's.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// openWays lets processes of all users reach the given folders though a folder
// above them is closed, as /root is. In the supervisor's own mount namespace each
// closed folder is covered by an empty one that can be passed through, in which
// the wanted folders, and nothing else, are at their old paths.
func openWays(folders []string) error {
	behind := map[string][]string{}
	for _, folder := range folders {
		gate, err := closedAbove(folder)
		if err != nil {
			return err
		}
		if gate != "" {
			behind[gate] = append(behind[gate], folder)
		}
	}
	for gate, wanted := range behind {
		if err := cover(gate, wanted); err != nil {
			return fmt.Errorf("open the way through %s: %w", gate, err)
		}
	}
	return nil
}

// closedAbove returns the topmost folder above path that not everybody can pass.
func closedAbove(path string) (string, error) {
	var above []string
	for folder := filepath.Dir(path); folder != "/"; folder = filepath.Dir(folder) {
		above = append(above, folder)
	}
	slices.Reverse(above)
	for _, folder := range above {
		info, err := os.Stat(folder)
		if err != nil {
			return "", fmt.Errorf("look at %s: %w", folder, err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return folder, nil
		}
	}
	return "", nil
}

func cover(gate string, wanted []string) (err error) {
	slices.Sort(wanted) // what is above comes first
	wanted = outermost(wanted)
	held := make([]int, 0, len(wanted))
	defer func() {
		for _, fd := range held {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	for _, path := range wanted {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		held = append(held, fd)
	}
	if err := unix.Mount("tmpfs", gate, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "mode=0711,size=1m"); err != nil {
		return fmt.Errorf("cover: %w", err)
	}
	for i, path := range wanted {
		if err := os.MkdirAll(path, 0o711); err != nil {
			return fmt.Errorf("make the way to %s: %w", path, err)
		}
		source := fmt.Sprintf("/proc/self/fd/%d", held[i])
		if err := unix.Mount(source, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
	}
	return nil
}

// outermost drops what is inside another one of the sorted paths.
func outermost(paths []string) []string {
	var kept []string
	for _, path := range paths {
		inside := slices.ContainsFunc(kept, func(outer string) bool {
			return path == outer || strings.HasPrefix(path, outer+"/")
		})
		if !inside {
			kept = append(kept, path)
		}
	}
	return kept
}
