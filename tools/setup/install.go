package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// fetcher gets a wheel whose hash is known and returns the path of the file below dir.
type fetcher interface {
	Fetch(ctx context.Context, w *wheel, sha256, dir string) (string, error)
}

// installer owns the folder .tools of one repository.
type installer struct {
	root   string // repository
	dir    string // root/.tools
	table  pins
	fetch  fetcher
	out    io.Writer
	quiet  bool
	goos   string
	goarch string
}

// newInstaller makes the tools folder if need be.
func newInstaller(root string, table pins, out io.Writer) (*installer, error) {
	dir := filepath.Join(root, ".tools")
	if err := os.MkdirAll(filepath.Join(dir, "stamps"), 0o755); err != nil {
		return nil, fmt.Errorf("tools folder (check that you may write there): %w", err)
	}
	return &installer{
		root: root, dir: dir, table: table, out: out, goos: runtime.GOOS, goarch: runtime.GOARCH,
		fetch: pip{dir: dir},
	}, nil
}

// Install brings the named groups and parts up to date. It stops at the first that
// cannot be had; what was installed before stays.
func (in *installer) Install(ctx context.Context, names []string) error {
	chosen, err := in.table.choose(names)
	if err != nil {
		return err
	}
	missing, err := in.stale(chosen)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		unlock, err := in.lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	for _, name := range chosen {
		if err := in.one(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", in.table.Parts[name].Title, err)
		}
	}
	return nil
}

// stale lists the parts that are not installed as the table says.
func (in *installer) stale(names []string) ([]string, error) {
	var missing []string
	for _, name := range names {
		digest, err := in.digest(name)
		if err != nil {
			return nil, err
		}
		if !in.current(name, digest) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// one installs one part unless it is there.
func (in *installer) one(ctx context.Context, name string) error {
	p := in.table.Parts[name]
	digest, err := in.digest(name)
	if err != nil {
		return err
	}
	if in.current(name, digest) {
		if !in.quiet {
			fmt.Fprintf(in.out, "  ready      %s\n", p.Title)
		}
		return nil
	}
	fmt.Fprintf(in.out, "  installing %s\n", p.Title)
	began := time.Now()
	stop := tick(ctx, in.out, p.Title)
	var kept []string
	if p.Wheel != nil {
		kept, err = in.wheel(ctx, p.Wheel)
	} else {
		kept, err = in.goTools(ctx, p.Go)
	}
	stop()
	if err != nil {
		return err
	}
	if p.Probe != nil {
		if err := in.probe(ctx, p.Probe); err != nil {
			return err
		}
	}
	fmt.Fprintf(in.out, "  installed  %s (%.1f s)\n", p.Title, time.Since(began).Seconds())
	return in.stamp(name, digest, kept)
}

// stamp is what is remembered of an installed part: enough to see without reading the
// files that neither they nor the table changed.
type stamp struct {
	Digest string          `json:"digest"`
	Files  map[string]mark `json:"files"`
}

// mark is a file's size and time of change in nanoseconds.
type mark struct {
	Size    int64 `json:"size"`
	Changed int64 `json:"changed"`
}

// current tells whether the part is there as it was installed.
func (in *installer) current(name, digest string) bool {
	text, err := os.ReadFile(in.stampPath(name))
	if err != nil {
		return false
	}
	var s stamp
	if json.Unmarshal(text, &s) != nil || s.Digest != digest || len(s.Files) == 0 {
		return false
	}
	for file, want := range s.Files {
		info, err := os.Stat(filepath.Join(in.dir, file))
		if err != nil || info.Size() != want.Size || info.ModTime().UnixNano() != want.Changed {
			return false
		}
	}
	return true
}

func (in *installer) stamp(name, digest string, files []string) error {
	s := stamp{Digest: digest, Files: map[string]mark{}}
	for _, file := range files {
		info, err := os.Stat(filepath.Join(in.dir, file))
		if err != nil {
			return fmt.Errorf("looking at what was installed: %w", err)
		}
		s.Files[file] = mark{Size: info.Size(), Changed: info.ModTime().UnixNano()}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("stamp: %w", err)
	}
	return place(in.stampPath(name), 0o644, text)
}

func (in *installer) stampPath(name string) string {
	return filepath.Join(in.dir, "stamps", name+".json")
}

// digest names the wanted state of a part: its row of the table, the machine, and for Go
// commands the module's files and the compiler.
func (in *installer) digest(name string) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(in.table.Parts[name]); err != nil {
		return "", fmt.Errorf("part %q: %w", name, err)
	}
	fmt.Fprintln(h, in.goos, in.goarch)
	if g := in.table.Parts[name].Go; g != nil {
		fmt.Fprintln(h, runtime.Version())
		for _, file := range []string{"go.mod", "go.sum"} {
			text, err := os.ReadFile(filepath.Join(in.root, g.Module, file))
			if err != nil {
				return "", fmt.Errorf("part %q: %w", name, err)
			}
			h.Write(text)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// lock keeps two set-ups out of each other's way and returns the way to end that.
func (in *installer) lock(ctx context.Context) (func(), error) {
	f, err := os.OpenFile(filepath.Join(in.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock of the tools folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		fmt.Fprintln(in.out, "  waiting for another set-up in this folder")
		done := make(chan error, 1) // one result, read or dropped when ctx ends
		go func() { done <- syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }()
		select {
		case err = <-done:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another set-up: %w", ctx.Err())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("locking the tools folder: %w", err)
	}
	return func() { _ = f.Close() }, nil // closing unlocks; there is nobody to tell
}

// place writes a file so that it appears complete or not at all.
func place(path string, mode fs.FileMode, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("folder of %s: %w", path, err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return fmt.Errorf("temporary file for %s: %w", path, err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	err = errors.Join(err, temp.Chmod(mode), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
