package main

import (
	"bytes"
	_ "embed" // the table of pins is part of the program
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed pins.yaml
var pinsYAML []byte

// pins is the table of what may be installed.
type pins struct {
	Groups map[string][]string `yaml:"groups"`
	Parts  map[string]part     `yaml:"parts"`
}

// part is one thing to install: either a wheel or Go commands.
type part struct {
	Title string `yaml:"title"`
	Wheel *wheel `yaml:"wheel"`
	Go    *gocmd `yaml:"go"`
	Probe *probe `yaml:"probe"`
}

// wheel is a Python wheel and what is taken out of it on each kind of machine.
type wheel struct {
	Package string   `yaml:"package"`
	Version string   `yaml:"version"`
	Any     *archive `yaml:"any"`
	AMD64   *archive `yaml:"amd64"`
	ARM64   *archive `yaml:"arm64"`
}

// archive is one wheel file.
type archive struct {
	SHA256 string   `yaml:"sha256"`
	Files  []member `yaml:"files"`
}

// member is one file of a wheel; To is below the tools folder.
type member struct {
	From   string      `yaml:"from"`
	To     string      `yaml:"to"`
	Mode   fs.FileMode `yaml:"mode"`
	SHA256 string      `yaml:"sha256"`
}

// gocmd is a module of this repository whose tool lines are built into bin.
type gocmd struct {
	Module   string   `yaml:"module"`
	Binaries []string `yaml:"binaries"`
	Strip    bool     `yaml:"strip"`
}

// probe starts what was installed: its output must contain a text.
type probe struct {
	Run      []string `yaml:"run"`
	Contains string   `yaml:"contains"`
	Hint     string   `yaml:"hint"`
}

// parsePins reads the table strictly and refuses one that could not be installed.
func parsePins(text []byte) (pins, error) {
	var p pins
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&p); err != nil {
		return pins{}, fmt.Errorf("table of pins: %w", err)
	}
	var problems []error
	for group, names := range p.Groups {
		for _, name := range names {
			if _, ok := p.Parts[name]; !ok {
				problems = append(problems, fmt.Errorf("group %q names part %q, which is not in the table", group, name))
			}
		}
	}
	for name, part := range p.Parts {
		if err := part.check(); err != nil {
			problems = append(problems, fmt.Errorf("part %q: %w", name, err))
		}
	}
	return p, errors.Join(problems...)
}

// check refuses a part without source, with a path outside the folder or without hash.
func (p part) check() error {
	switch {
	case (p.Wheel == nil) == (p.Go == nil):
		return errors.New("exactly one of wheel and go must be given")
	case p.Go != nil && (p.Go.Module == "" || len(p.Go.Binaries) == 0):
		return errors.New("go needs a module and its binaries")
	case p.Go != nil:
		return nil
	}
	for _, a := range []*archive{p.Wheel.Any, p.Wheel.AMD64, p.Wheel.ARM64} {
		if a == nil {
			continue
		}
		if len(a.SHA256) != 64 || len(a.Files) == 0 {
			return errors.New("a wheel needs its sha256 and at least one file")
		}
		for _, f := range a.Files {
			if len(f.SHA256) != 64 || !filepath.IsLocal(f.To) || f.Mode == 0 {
				return fmt.Errorf("file %q needs a sha256, a mode and a place below the tools folder", f.From)
			}
		}
	}
	return nil
}

// choose returns the sorted names of the parts of the groups; none means all parts.
// A name may also be that of a part.
func (p pins) choose(names []string) ([]string, error) {
	chosen := map[string]bool{}
	for _, name := range names {
		if _, ok := p.Parts[name]; ok {
			chosen[name] = true
			continue
		}
		group, ok := p.Groups[name]
		if !ok {
			return nil, fmt.Errorf("no group or part %q; groups are %s", name, strings.Join(sortedKeys(p.Groups), ", "))
		}
		for _, part := range group {
			chosen[part] = true
		}
	}
	if len(names) == 0 {
		return sortedKeys(p.Parts), nil
	}
	return sortedKeys(chosen), nil
}

// archiveFor picks the wheel for a machine; arch is a GOARCH.
func (w *wheel) archiveFor(goos, arch string) (*archive, error) {
	if w.Any != nil {
		return w.Any, nil
	}
	if goos == "linux" {
		switch {
		case arch == "amd64" && w.AMD64 != nil:
			return w.AMD64, nil
		case arch == "arm64" && w.ARM64 != nil:
			return w.ARM64, nil
		}
	}
	return nil, fmt.Errorf("%s %s exists for linux/amd64 and linux/arm64, and this machine is %s/%s", w.Package, w.Version, goos, arch)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
