// Package durable reads and replaces the small files that must outlive the process.
// In: bytes. Out: a file of mode 0600 that is either the old or the new one, whatever
// happens in between. It refuses to read secrets that other users can read too.
package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// maxFile bounds what is read, in bytes.
const maxFile = 1 << 20

// Replace writes data to path by way of a new file beside it, and returns when both
// the file and its name are on disk. The folder must exist.
func Replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes changes of names in dir last.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// Folder makes dir with mode 0700 if it is not there.
func Folder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}

// ReadSecret reads a regular file of at most 1 MiB that nobody but its owner, who is
// us or root, can read or write. A missing file is os.ErrNotExist.
func ReadSecret(path string) ([]byte, error) { return read(path, true) }

// Read reads a regular file of at most 1 MiB. A missing file is os.ErrNotExist.
func Read(path string) ([]byte, error) { return read(path, false) }

func read(path string, secret bool) ([]byte, error) {
	// Without blocking, so that a named pipe in its place is refused and not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if secret {
		if err := private(path, info); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return data, nil
}

func private(path string, info os.FileInfo) error {
	if p := info.Mode().Perm(); p&0o077 != 0 {
		return fmt.Errorf("%s holds a secret and has mode %04o, so other users can get at it: chmod 600 %s", path, p, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s holds a secret and belongs to user %d: it must belong to the user of this process, %d, or to root",
			path, st.Uid, os.Geteuid())
	}
	return nil
}
