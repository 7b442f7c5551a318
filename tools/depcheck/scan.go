package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// source is one Go file, parsed.
type source struct {
	dir  string // folder relative to the repository, slash-separated
	name string // package name
	test bool   // a _test.go file
	file *ast.File
	fset *token.FileSet
}

// imports is one import line.
type imported struct {
	path string
	at   token.Position
}

// modules reads the module folders of go.work in root, relative and slash-separated.
func modules(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, "go.work"))
	if err != nil {
		return nil, fmt.Errorf("list of modules: %w", err)
	}
	var dirs []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		field := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "use"))
		if strings.HasPrefix(field, "./") {
			dirs = append(dirs, path.Clean(field))
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("list of modules: go.work names no folder")
	}
	sort.Strings(dirs)
	return dirs, lines.Err()
}

// scan parses every Go file of a module. Folders of other modules, generated code's
// folder, testdata and hidden folders are left out.
func scan(root, module string) ([]source, error) {
	var all []source
	fset := token.NewFileSet()
	top := filepath.Join(root, module)
	err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != top && skip(file, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(file) != ".go":
			return nil
		}
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		all = append(all, source{
			dir: filepath.ToSlash(dir), name: parsed.Name.Name, fset: fset, file: parsed,
			test: strings.HasSuffix(file, "_test.go"),
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading module %s: %w", module, err)
	}
	return all, nil
}

// skip tells whether a folder below a module is not part of it.
func skip(dir, name string) bool {
	if name == "testdata" || name == "gen" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// imports lists the import lines of a file.
func (s source) imports() []imported {
	var all []imported
	for _, spec := range s.file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has accepted it, so this is a string
		}
		all = append(all, imported{path: name, at: s.fset.Position(spec.Pos())})
	}
	return all
}
