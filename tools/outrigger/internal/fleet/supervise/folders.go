package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// makeFolders makes the folders of the plan in its state folder: each process's
// own is closed to everybody else, those above can only be passed through.
func makeFolders(plan fleet.Plan) error {
	for _, folder := range plan.Folders {
		if parent := filepath.Dir(folder.Path); parent != plan.State {
			if err := makeFolder(parent, 0, 0o711); err != nil {
				return err
			}
		}
		if err := makeFolder(folder.Path, folder.UID, 0o700); err != nil {
			return err
		}
	}
	if err := makeFolder(filepath.Join(plan.State, fleet.SettingsFolder), 0, 0o711); err != nil {
		return err
	}
	return makeRunFolder(plan)
}

// makeRunFolder makes the folder where the services put their sockets. As root
// they have uids of their own and share it as a group, in which nobody can
// remove what another one made.
func makeRunFolder(plan fleet.Plan) error {
	run := filepath.Join(plan.State, fleet.RunFolder)
	if err := makeFolder(run, 0, 0o700); err != nil {
		return err
	}
	if plan.Root {
		if err := os.Chown(run, 0, int(plan.RunGroup)); err != nil {
			return fmt.Errorf("run folder: %w", err)
		}
		if err := os.Chmod(run, 0o770|fs.ModeSticky); err != nil {
			return fmt.Errorf("run folder: %w", err)
		}
	}
	return makeFolder(filepath.Join(run, fleet.ForwardFolder), 0, 0o700)
}

// makeFolder makes a folder or takes over the one that is there, with all in it
// if it belonged to another user.
func makeFolder(path string, uid uint32, mode fs.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("state folder: %s is not a folder", path)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != uid {
		if err := giveAway(path, uid); err != nil {
			return fmt.Errorf("state folder: %s belongs to uid %d: %w", path, owner, err)
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}

func giveAway(path string, uid uint32) error {
	return filepath.WalkDir(path, func(each string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(each, int(uid), int(uid)))
	})
}
