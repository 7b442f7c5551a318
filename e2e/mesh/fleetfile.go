package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// FleetFile is a fleet file as it is written, to be changed before a mesh is started
// from it. The first mistake made in changing it is kept and returned by Write.
type FleetFile struct {
	// Dir is the folder of the mesh that the file is for.
	Dir string
	doc map[string]any
	err error
}

// ReadFleetFile reads the fleet file of the repository. Its folder of configuration
// files becomes absolute, so that it may be written anywhere.
func ReadFleetFile(root Root) (*FleetFile, error) {
	path := root.Path("deploy", "local", "fleet.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("fleet file: %w", err)
	}
	f := &FleetFile{}
	if err := yaml.Unmarshal(text, &f.doc); err != nil {
		return nil, fmt.Errorf("fleet file %s: %w", path, err)
	}
	config, given := f.doc["config"].(string)
	if !given {
		config = "../config"
	}
	if !filepath.IsAbs(config) {
		config = filepath.Join(filepath.Dir(path), config)
	}
	f.doc["config"] = config
	return f, nil
}

// Write writes the file for `outrigger up`.
func (f *FleetFile) Write(path string) error {
	if f.err != nil {
		return f.err
	}
	text, err := yaml.Marshal(f.doc)
	if err != nil {
		return fmt.Errorf("fleet file: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("fleet file: %w", err)
	}
	return nil
}

func (f *FleetFile) failf(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("fleet file: "+format, args...)
	}
}

// list returns a section's entries.
func (f *FleetFile) list(section string) []any {
	entries, _ := f.doc[section].([]any)
	return entries
}

// entry returns the one of a section that has a name, nil if there is none.
func (f *FleetFile) entry(section, name string) map[string]any {
	for _, each := range f.list(section) {
		if entry, ok := each.(map[string]any); ok && entry["name"] == name {
			return entry
		}
	}
	return nil
}

// Names lists the entries of "services", "hosts" or "publish".
func (f *FleetFile) Names(section string) []string {
	var names []string
	for _, each := range f.list(section) {
		if entry, ok := each.(map[string]any); ok {
			name, _ := entry["name"].(string)
			names = append(names, name)
		}
	}
	return names
}

// Service changes one service.
func (f *FleetFile) Service(name string, change func(service map[string]any)) {
	f.change("services", name, change)
}

// Host changes one host.
func (f *FleetFile) Host(name string, change func(host map[string]any)) {
	f.change("hosts", name, change)
}

func (f *FleetFile) change(section, name string, change func(map[string]any)) {
	entry := f.entry(section, name)
	if entry == nil {
		f.failf("there is no %q in %s, only %v", name, section, f.Names(section))
		return
	}
	change(entry)
}

// Sidecar changes what runs beside every application that has a sidecar.
func (f *FleetFile) Sidecar(change func(sidecar map[string]any)) {
	sidecar, ok := f.doc["sidecar"].(map[string]any)
	if !ok {
		f.failf("has no sidecar section")
		return
	}
	change(sidecar)
}

// Flags adds arguments to a service: its settings are flags, and the last one counts.
func (f *FleetFile) Flags(service string, flags ...string) {
	f.Service(service, func(s map[string]any) {
		args, _ := s["args"].([]any)
		args = slices.Clone(args)
		for _, flag := range flags {
			args = append(args, flag)
		}
		s["args"] = args
	})
}

// Add appends an entry to a section.
func (f *FleetFile) Add(section string, entry map[string]any) {
	f.doc[section] = append(f.list(section), entry)
}

// Manual leaves services and hosts down until they are started by request.
func (f *FleetFile) Manual(names ...string) {
	for _, name := range names {
		section := "services"
		if f.entry(section, name) == nil {
			section = "hosts"
		}
		f.change(section, name, func(entry map[string]any) { entry["manual"] = true })
	}
}

// NotAfter makes entries wait for nothing: they start as soon as they are asked to.
func (f *FleetFile) NotAfter(names ...string) {
	for _, name := range names {
		section := "services"
		if f.entry(section, name) == nil {
			section = "hosts"
		}
		f.change(section, name, func(entry map[string]any) { delete(entry, "after") })
	}
}

// Only keeps the named hosts and drops the others.
func (f *FleetFile) Only(hosts ...string) {
	kept := []any{}
	for _, each := range f.list("hosts") {
		entry, ok := each.(map[string]any)
		if name, _ := entry["name"].(string); ok && slices.Contains(hosts, name) {
			kept = append(kept, each)
		}
	}
	if len(kept) != len(hosts) {
		f.failf("not all of the hosts %v are there, only %v", hosts, f.Names("hosts"))
	}
	f.doc["hosts"] = kept
}

// Reach brings a Unix socket of the run folder into the hub, unless the file has it.
func (f *FleetFile) Reach(listen, socket string) {
	for _, each := range f.list("reach") {
		if entry, ok := each.(map[string]any); ok && entry["socket"] == socket {
			entry["listen"] = listen
			return
		}
	}
	f.Add("reach", map[string]any{"listen": listen, "socket": socket})
}
