package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
)

// difference is one file that is not as the contracts say. old or fresh may not exist.
type difference struct {
	name  string // slash-separated, below genDir
	state string // for people
	old   string // path in the repository
	fresh string // path of the new content, empty if the file should go
}

// compare lists, sorted by name, the files that differ between the committed folder and
// the fresh one. A folder that does not exist is empty.
func compare(committed, fresh string) ([]difference, error) {
	old, err := files(committed)
	if err != nil {
		return nil, err
	}
	want, err := files(fresh)
	if err != nil {
		return nil, err
	}
	var diffs []difference
	for name, text := range want {
		d := difference{name: name, old: filepath.Join(committed, name), fresh: filepath.Join(fresh, name)}
		have, ok := old[name]
		switch {
		case !ok:
			d.state = "missing"
		case !bytes.Equal(have, text):
			d.state = "out of date"
		default:
			continue
		}
		diffs = append(diffs, d)
	}
	for name := range old {
		if _, ok := want[name]; !ok {
			diffs = append(diffs, difference{name: name, state: "left over: no contract makes it", old: filepath.Join(committed, name)})
		}
	}
	sort.Slice(diffs, func(i, j int) bool { return diffs[i].name < diffs[j].name })
	return diffs, nil
}

// files reads a folder into memory, keyed by slash-separated name.
func files(dir string) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		all[filepath.ToSlash(name)] = text
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	return all, nil
}

// apply makes the committed folder equal to the fresh one and tells what it did.
func apply(diffs []difference, out io.Writer) error {
	for _, d := range diffs {
		if d.fresh == "" {
			if err := os.Remove(d.old); err != nil {
				return fmt.Errorf("removing left-over %s: %w", d.name, err)
			}
			fmt.Fprintln(out, "removed", d.name)
			continue
		}
		text, err := os.ReadFile(d.fresh)
		if err != nil {
			return fmt.Errorf("reading fresh %s: %w", d.name, err)
		}
		if err := os.MkdirAll(filepath.Dir(d.old), 0o755); err != nil {
			return fmt.Errorf("making a folder for %s: %w", d.name, err)
		}
		if err := os.WriteFile(d.old, text, 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", d.name, err)
		}
		fmt.Fprintln(out, "wrote", d.name)
	}
	return nil
}
