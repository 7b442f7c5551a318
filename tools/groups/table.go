package main

import (
	"bufio"
	"bytes"
	_ "embed" // the table of groups is part of the program
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed groups.yaml
var groupsYAML []byte

// group is a set of tests that can run or not run as a whole.
type group struct {
	Name  string        `yaml:"name"`
	About string        `yaml:"about"`
	Setup []string      `yaml:"setup"`
	Build bool          `yaml:"build"`
	Needs []string      `yaml:"needs"`
	Limit time.Duration `yaml:"limit"`
	// Each makes one group of every module; its steps run in the module's folder.
	Each  bool   `yaml:"each"`
	Steps []step `yaml:"steps"`
	// of is the row that made this group, if it is one of many.
	of string
}

// step is one command of a group.
type step struct {
	About string   `yaml:"about"`
	Run   []string `yaml:"run"`  // a word with {modules} stands once for every module
	Dir   string   `yaml:"dir"`  // below the repository
	Each  bool     `yaml:"each"` // once in every module
	User  bool     `yaml:"user"` // as an ordinary user
	// Workspace runs it with all modules at once, not with one alone.
	Workspace bool `yaml:"workspace"`
}

// moduleNeeds are what the tests of a module need of the machine.
var moduleNeeds = map[string][]string{
	"tools": {"root-namespaces", "user-namespaces"},
}

// parseGroups reads the table strictly and makes a group of every module. modules are
// folders below the repository.
func parseGroups(text []byte, modules []string) ([]group, error) {
	var file struct {
		Groups []group `yaml:"groups"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("table of groups: %w", err)
	}
	var all []group
	var problems []error
	for _, g := range file.Groups {
		if g.Limit <= 0 || len(g.Steps) == 0 {
			problems = append(problems, fmt.Errorf("table of groups: group %q needs a limit and steps", g.Name))
		}
		for _, need := range g.Needs {
			if _, ok := conditions[need]; !ok {
				problems = append(problems, fmt.Errorf("table of groups: group %q needs %q, which nobody can check", g.Name, need))
			}
		}
		if g.Each {
			all = append(all, perModule(g, modules)...)
			continue
		}
		all = append(all, g)
	}
	return all, errors.Join(problems...)
}

// perModule makes one group of each module.
func perModule(g group, modules []string) []group {
	var all []group
	for _, dir := range modules {
		if dir == "e2e" {
			continue
		}
		own := g
		own.Name, own.About, own.Each, own.of = path.Base(dir), "module "+dir, false, g.Name
		own.Needs = moduleNeeds[own.Name]
		own.Steps = nil
		for _, s := range g.Steps {
			s.Dir = dir
			own.Steps = append(own.Steps, s)
		}
		all = append(all, own)
	}
	return all
}

// choose keeps the named groups, in the order of the table; no name keeps all. The name
// of a row that makes a group of every module keeps all of those.
func choose(all []group, names []string) ([]group, error) {
	if len(names) == 0 {
		return all, nil
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	var chosen []group
	known := map[string]bool{}
	var list []string
	for _, g := range all {
		known[g.Name], known[g.of] = true, true
		list = append(list, g.Name)
		if wanted[g.Name] || g.of != "" && wanted[g.of] {
			chosen = append(chosen, g)
		}
	}
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("no group %q; there are %s", name, strings.Join(list, ", "))
		}
	}
	return chosen, nil
}

// modules reads the folders that go.work lists, in its order.
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
	return dirs, lines.Err()
}
