package main

import (
	"bytes"
	_ "embed" // the table is part of the program
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed table.yaml
var tableYAML []byte

// table says which way imports may point. Folders are relative to the repository.
type table struct {
	Module string `yaml:"module"`
	// Tests are the third-party packages that any test may import.
	Tests []string `yaml:"tests"`
	// Core is what pure packages may import of the shared parts.
	Core []string `yaml:"core"`
	// Main is what main packages may import of the shared parts.
	Main     []string           `yaml:"main"`
	Shared   []shared           `yaml:"shared"`
	Services map[string]service `yaml:"services"`
	Folders  []folder           `yaml:"folders"`
}

// shared is one package of internal. The list is in order: a package may import those
// above it.
type shared struct {
	Name    string   `yaml:"name"`
	Third   []string `yaml:"third"`
	StdOnly string   `yaml:"stdOnly"` // the reason, if only std and such siblings are allowed
}

// service is one module below services. Keys are folders below the service. API packages
// are what authors outside the service import; inside, everybody may.
type service struct {
	// Shared, if given, is all that the service may import of internal; Light is why.
	Shared []string         `yaml:"shared"`
	Light  string           `yaml:"light"`
	Root   entry            `yaml:"root"`
	API    map[string]entry `yaml:"api"`
	Pure   map[string]entry `yaml:"pure"`
	State  map[string]entry `yaml:"state"`
	Edge   map[string]entry `yaml:"edge"`
}

// entry lists what a package may import beyond its class.
type entry struct {
	Third []string          `yaml:"third"`
	Also  map[string]string `yaml:"also"` // folder of the same service → reason
}

// folder is a row for what is no service: the first whose Path fits decides.
type folder struct {
	Path    string   `yaml:"path"`
	May     []string `yaml:"may"`   // folders of the repository, a star for one element
	Third   []string `yaml:"third"` // "*" is anything
	Because string   `yaml:"because"`
}

// parseTable reads the table strictly.
func parseTable(text []byte) (table, error) {
	var t table
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&t); err != nil {
		return table{}, fmt.Errorf("import table: %w", err)
	}
	var problems []error
	if t.Module == "" {
		problems = append(problems, errors.New("import table: no module"))
	}
	for _, f := range t.Folders {
		if f.Because == "" {
			problems = append(problems, fmt.Errorf("import table: folder %q gives no reason", f.Path))
		}
	}
	for name, s := range t.Services {
		if (s.Shared == nil) != (s.Light == "") {
			problems = append(problems, fmt.Errorf("import table: service %q: shared and light go together", name))
		}
		for _, dir := range s.folders() {
			for to, why := range s.entryOf(dir).Also {
				if why == "" {
					problems = append(problems, fmt.Errorf("import table: service %q: %s may also import %s without a reason", name, dir, to))
				}
			}
		}
	}
	return t, errors.Join(problems...)
}

// folders lists every folder of the service that the table names, sorted.
func (s service) folders() []string {
	var all []string
	for _, m := range []map[string]entry{s.API, s.Pure, s.State, s.Edge} {
		for dir := range m {
			all = append(all, dir)
		}
	}
	sort.Strings(all)
	return all
}

// class is what a package of a service is for.
type class string

const (
	classRoot    class = "service root"
	classMain    class = "main package"
	classAPI     class = "API package"
	classPure    class = "PURE package"
	classState   class = "STATE package"
	classEdge    class = "IN or OUT package"
	classUnknown class = ""
)

// classOf finds the row of a folder below the service and the folder that the row names,
// which is the longest one that holds it.
func (s service) classOf(dir string) (class, string) {
	switch {
	case dir == "":
		return classRoot, ""
	case strings.HasPrefix(dir, "cmd/"):
		return classMain, dir
	}
	for named := dir; named != "."; named = path.Dir(named) {
		switch {
		case has(s.API, named):
			return classAPI, named
		case has(s.Pure, named):
			return classPure, named
		case has(s.State, named):
			return classState, named
		case has(s.Edge, named):
			return classEdge, named
		}
	}
	return classUnknown, dir
}

// entryOf returns the row of a named folder.
func (s service) entryOf(named string) entry {
	for _, m := range []map[string]entry{s.API, s.Pure, s.State, s.Edge} {
		if e, ok := m[named]; ok {
			return e
		}
	}
	return s.Root
}

// allThird is every third-party package that some row of the service lists.
func (s service) allThird() []string {
	all := slices.Clone(s.Root.Third)
	for _, dir := range s.folders() {
		all = append(all, s.entryOf(dir).Third...)
	}
	return all
}

func has(m map[string]entry, key string) bool {
	_, ok := m[key]
	return ok
}

// below tells whether path is one of the prefixes or lies below one. An element "*" of a
// prefix stands for any one element, and "*" alone for everything.
func below(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if p == "*" || name == p || strings.HasPrefix(name, p+"/") {
			return true
		}
		if strings.Contains(p, "*") && fits(strings.Split(name, "/"), strings.Split(p, "/")) {
			return true
		}
	}
	return false
}

// fits compares element by element. A pattern that ends in "!" allows nothing below it.
func fits(name, pattern []string) bool {
	last := pattern[len(pattern)-1]
	if last == "!" {
		pattern = pattern[:len(pattern)-1]
		if len(name) != len(pattern) {
			return false
		}
	}
	if len(name) < len(pattern) {
		return false
	}
	for i, p := range pattern {
		if p != "*" && p != name[i] {
			return false
		}
	}
	return true
}
