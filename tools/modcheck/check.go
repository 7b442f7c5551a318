package main

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/mod/modfile"
)

// siblingVersion is what a sibling is required at: its replace line decides.
const siblingVersion = "v0.0.0"

// check returns the disagreements, sorted.
func (w workspace) check() []string {
	var problems []string
	byPath := map[string]string{} // module path → folder
	for dir, mod := range w.mods {
		if mod.Module == nil {
			problems = append(problems, fmt.Sprintf("%s/go.mod: no module line", dir))
			continue
		}
		byPath[mod.Module.Mod.Path] = dir
	}
	problems = append(problems, w.checkListed()...)
	for dir, mod := range w.mods {
		problems = append(problems, checkSiblings(dir, mod, byPath)...)
		if mod.Go == nil || mod.Go.Version != w.goLine {
			problems = append(problems, fmt.Sprintf("%s/go.mod: go line %q, go.work has %q", dir, goLine(mod), w.goLine))
		}
		if mod.Toolchain != nil {
			problems = append(problems, fmt.Sprintf("%s/go.mod: a toolchain line: the go line alone decides", dir))
		}
	}
	problems = append(problems, w.checkVersions(byPath)...)
	problems = append(problems, w.checkReplaced(byPath)...)
	sort.Strings(problems)
	return problems
}

func goLine(mod *modfile.File) string {
	if mod.Go == nil {
		return ""
	}
	return mod.Go.Version
}

// checkListed compares the folders of go.work with those that hold a module.
func (w workspace) checkListed() []string {
	var problems []string
	for dir := range w.mods {
		if !w.listed[dir] {
			problems = append(problems, fmt.Sprintf("go.work: does not list module ./%s", dir))
		}
	}
	for dir := range w.listed {
		if w.mods[dir] == nil {
			problems = append(problems, fmt.Sprintf("go.work: lists ./%s, which holds no go.mod", dir))
		}
	}
	return problems
}

// checkSiblings wants each required sibling replaced by its folder, so that a module
// builds the same alone and in the workspace.
func checkSiblings(dir string, mod *modfile.File, byPath map[string]string) []string {
	var problems []string
	replaced := map[string]string{}
	for _, r := range mod.Replace {
		replaced[r.Old.Path] = r.New.Path
	}
	for _, req := range mod.Require {
		to, ok := byPath[req.Mod.Path]
		if !ok {
			continue
		}
		rel, err := filepath.Rel(dir, to)
		if err != nil {
			rel = to
		}
		want := filepath.ToSlash(rel)
		if !strings.HasPrefix(want, ".") {
			want = "./" + want
		}
		if got := replaced[req.Mod.Path]; path.Clean(got) != path.Clean(want) || got == "" {
			problems = append(problems, fmt.Sprintf("%s/go.mod: requires %s: add replace %s => %s", dir, req.Mod.Path, req.Mod.Path, want))
		}
		if req.Mod.Version != siblingVersion {
			problems = append(problems, fmt.Sprintf("%s/go.mod: requires %s at %s, siblings are required at %s", dir, req.Mod.Path, req.Mod.Version, siblingVersion))
		}
	}
	return problems
}

// checkVersions finds dependencies that some module wants directly and that two modules
// have in different versions.
func (w workspace) checkVersions(byPath map[string]string) []string {
	direct := map[string]bool{}
	versions := map[string]map[string][]string{} // dependency → version → folders
	for dir, mod := range w.mods {
		for _, req := range mod.Require {
			name := req.Mod.Path
			if _, ok := byPath[name]; ok {
				continue
			}
			direct[name] = direct[name] || !req.Indirect
			note(versions, name, req.Mod.Version, dir)
		}
	}
	var problems []string
	for name, by := range versions {
		if !direct[name] || len(by) < 2 {
			continue
		}
		problems = append(problems, fmt.Sprintf("%s: %s", name, sides(by)))
	}
	return problems
}

// checkReplaced wants a dependency that one module replaces to be replaced alike in every
// module that requires it.
func (w workspace) checkReplaced(byPath map[string]string) []string {
	replaced := map[string]map[string][]string{} // dependency → replacement → folders
	for dir, mod := range w.mods {
		for _, r := range mod.Replace {
			if _, ok := byPath[r.Old.Path]; !ok {
				note(replaced, r.Old.Path, r.New.Path+"@"+r.New.Version, dir)
			}
		}
	}
	for dir, mod := range w.mods {
		for _, req := range mod.Require {
			name := req.Mod.Path
			if replaced[name] != nil && !slices.ContainsFunc(mod.Replace, func(r *modfile.Replace) bool { return r.Old.Path == name }) {
				note(replaced, name, "itself", dir)
			}
		}
	}
	var problems []string
	for name, by := range replaced {
		if len(by) > 1 {
			problems = append(problems, fmt.Sprintf("%s is replaced by %s", name, sides(by)))
		}
	}
	return problems
}

// note adds dir to all[name][what].
func note(all map[string]map[string][]string, name, what, dir string) {
	if all[name] == nil {
		all[name] = map[string][]string{}
	}
	all[name][what] = append(all[name][what], dir)
}

// sides tells which folders hold which value, sorted.
func sides(by map[string][]string) string {
	var all []string
	for what, dirs := range by {
		sort.Strings(dirs)
		all = append(all, what+" in "+strings.Join(dirs, ", "))
	}
	sort.Strings(all)
	return strings.Join(all, "; ")
}
