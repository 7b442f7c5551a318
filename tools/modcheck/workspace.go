package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// workspace is what go.work and the go.mod files say. Folders are relative to the
// repository and slash-separated.
type workspace struct {
	goLine string
	listed map[string]bool
	mods   map[string]*modfile.File
}

// read parses go.work and every go.mod below root. Hidden folders and testdata are left
// out; so are the modules below tools/toolchain, which build tools and no part of ours.
func read(root string) (workspace, error) {
	w := workspace{listed: map[string]bool{}, mods: map[string]*modfile.File{}}
	text, err := os.ReadFile(filepath.Join(root, "go.work"))
	if err != nil {
		return w, fmt.Errorf("reading the workspace: %w", err)
	}
	work, err := modfile.ParseWork("go.work", text, nil)
	if err != nil {
		return w, fmt.Errorf("reading the workspace: %w", err)
	}
	if work.Go != nil {
		w.goLine = work.Go.Version
	}
	for _, use := range work.Use {
		w.listed[path.Clean(filepath.ToSlash(use.Path))] = true
	}
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != root && leftOut(root, file, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || d.Name() != "go.mod":
			return nil
		}
		return w.add(root, file)
	})
	if err != nil {
		return w, fmt.Errorf("reading modules: %w", err)
	}
	return w, nil
}

func leftOut(root, dir, name string) bool {
	rel, err := filepath.Rel(root, dir)
	return err != nil || name == "testdata" || strings.HasPrefix(name, ".") ||
		filepath.ToSlash(rel) == "tools/toolchain"
}

func (w workspace) add(root, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	mod, err := modfile.Parse(file, text, nil)
	if err != nil {
		return err
	}
	dir, err := filepath.Rel(root, filepath.Dir(file))
	if err != nil {
		return err
	}
	w.mods[filepath.ToSlash(dir)] = mod
	return nil
}
