package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// userParts are what an ordinary user's run needs of the repository.
var userParts = []string{"go.work", "bin", "deploy", "samples", "e2e", ".tools/envoy"}

// asUser compiles the tests of a folder and runs them as an ordinary user: as oneself if
// that is what one is, else as nobody, who cannot read everybody's repository and so gets
// a folder with links to what the run needs. OUTRIGGER_ROOT names that folder.
func (r runner) asUser(ctx context.Context, s step, dir string) error {
	home, err := os.MkdirTemp("", "or-")
	if err != nil {
		return fmt.Errorf("folder of the ordinary user: %w", err)
	}
	defer os.RemoveAll(home)
	for _, part := range userParts {
		if err := link(filepath.Join(r.root, part), filepath.Join(home, part)); err != nil {
			return fmt.Errorf("folder of the ordinary user: %w", err)
		}
	}
	binary := filepath.Join(home, s.Run[0])
	if err := r.command(ctx, []string{"go", "test", "-c", "-o", binary, "."}, dir, nil); err != nil {
		return fmt.Errorf("compiling the tests: %w", err)
	}
	for _, own := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(home, own), 0o700); err != nil {
			return fmt.Errorf("folder of the ordinary user: %w", err)
		}
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = nobody
		if err := give(home, uid); err != nil {
			return err
		}
	}
	return r.command(ctx, append([]string{binary}, s.Run[1:]...), dir, func(cmd *exec.Cmd) {
		cmd.Dir = filepath.Join(home, dir)
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(home, "home"), "TMPDIR=" + filepath.Join(home, "tmp"),
			"CI=" + os.Getenv("CI"), "OUTRIGGER_ROOT=" + home,
		}
		if os.Geteuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
		}
	})
}

// link makes a tree of hard links, or copies where the file system has none.
func link(from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return nil // sockets and the like belong to who made them
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.Link(path, target); err != nil {
			return copyFile(path, target, d)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) && !exists(from) {
		return nil
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func copyFile(from, to string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// give makes the folders of a tree the user's own. Files keep their owner: links to the
// repository's files must not change hands.
func give(dir string, uid int) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		return fmt.Errorf("giving a folder to uid %d: %w", uid, err)
	}
	return nil
}
