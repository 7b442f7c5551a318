package mesh

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Leftover says what of the mesh is still there: a process that has its folder in its
// command line or its environment, or runs in its namespaces, a mount below its folder,
// a socket in its state folder, the state file. nil: nothing.
func (m *Mesh) Leftover(namespaces Namespaces) error {
	var found []error
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("look for processes: %w", err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if why := m.belongs(pid, namespaces); why != "" {
			found = append(found, fmt.Errorf("process %d: %s", pid, why))
		}
	}
	found = append(found, m.mounts(), m.sockets())
	return errors.Join(found...)
}

// belongs says in what a process is one of the mesh, "" if it is none or has ended.
func (m *Mesh) belongs(pid int, namespaces Namespaces) string {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	if stat, err := os.ReadFile(folder + "/stat"); err != nil || strings.Contains(string(stat), ") Z ") {
		return ""
	}
	command, _ := os.ReadFile(folder + "/cmdline")
	words := strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))
	if strings.Contains(words, m.Dir) {
		return words
	}
	for _, kind := range []string{"pid", "net", "mnt"} {
		link, err := os.Readlink(folder + "/ns/" + kind)
		if err == nil && namespaces[link] != "" {
			return fmt.Sprintf("%s (in the %s namespace of %s)", words, kind, namespaces[link])
		}
	}
	return ""
}

func (m *Mesh) mounts() error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("look for mounts: %w", err)
	}
	var found []error
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, m.Dir) {
			found = append(found, fmt.Errorf("mount: %s", strings.TrimSpace(line)))
		}
	}
	return errors.Join(found...)
}

// sockets looks everywhere in the state folder, and for the state file there.
func (m *Mesh) sockets() error {
	var found []error
	err := filepath.WalkDir(m.State, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (d.Type()&fs.ModeSocket != 0 || d.Name() == "fleet.json") {
			found = append(found, fmt.Errorf("left in the state folder: %s", path))
		}
		return err
	})
	return errors.Join(append(found, err)...)
}

// Namespaces are those of the mesh's processes, by what the kernel calls them, with the
// name of one process inside.
type Namespaces map[string]string

// Namespaces lists the namespaces that the mesh has made, for Leftover.
func (m *Mesh) Namespaces() (Namespaces, error) {
	s, err := m.Snapshot()
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for _, kind := range []string{"pid", "net", "mnt"} {
		if link, err := os.Readlink("/proc/self/ns/" + kind); err == nil {
			ours[link] = true
		}
	}
	found := Namespaces{}
	for _, p := range append(s.Processes, Process{Name: "the supervisor", PID: s.Supervisor}) {
		for _, kind := range []string{"pid", "net", "mnt"} {
			link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.PID, kind))
			if err == nil && !ours[link] {
				found[link] = p.Name
			}
		}
	}
	if len(found) < 3 {
		return nil, fmt.Errorf("the fleet has no namespaces of its own: %v", found)
	}
	return found, nil
}
