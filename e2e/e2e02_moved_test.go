package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// watching is a small mesh whose pilot watches a folder beside the sample's own, given
// by its path in the mesh's folder.
func watching(folder func(dir string) string) func(*mesh.FleetFile) {
	return func(f *mesh.FleetFile) {
		few(f)
		f.Flags("pilot", "--folders="+folder(f.Dir))
	}
}

// TestFolderMoved: what cannot be read is named and holds up nothing; objects move with
// their folder, and those that did not come along stay until somebody has them.
func TestFolderMoved(t *testing.T) {
	moved := func(dir string) string { return filepath.Join(dir, "moved") }
	s := own(t, mesh.Config{Fleet: watching(watchedFolder)})
	first, second := watchedFolder(s.Dir), moved(s.Dir)
	put(t, filepath.Join(first, "kept.yaml"), testRule("kept"))
	put(t, filepath.Join(first, "lost.yaml"), testRule("lost")+"---\n"+testRule("lost-too"))
	check(t, syscall.Mkfifo(filepath.Join(first, "a-pipe.yaml"), 0o644))
	check(t, os.Symlink("/etc/hostname", filepath.Join(first, "b-link.yaml")))
	check(t, os.WriteFile(filepath.Join(first, "c-empty.yaml"), nil, 0o644))
	check(t, os.Mkdir(filepath.Join(first, "d-folder.yaml"), 0o755))
	eventually(t, folderLimit, func(context.Context) error {
		return errors.Join(
			s.comesFrom(t, "kept", "file:"+first+"/kept.yaml"), s.comesFrom(t, "lost", "file:"+first+"/lost.yaml"),
			s.complains(t, "a-pipe.yaml: is a named pipe", "b-link.yaml: is a link that leads out",
				"c-empty.yaml: has no objects", "d-folder.yaml: is a folder"))
	})

	check(t, s.Stop())
	check(t, os.Rename(first, second))
	for _, name := range []string{"lost.yaml", "a-pipe.yaml", "b-link.yaml", "c-empty.yaml", "d-folder.yaml"} {
		check(t, os.Remove(filepath.Join(second, name)))
	}
	check(t, s.WriteFleet(watching(moved)))
	s.start(t)
	old := filepath.Join(first, "lost.yaml")
	eventually(t, folderLimit, func(context.Context) error {
		return errors.Join(s.comesFrom(t, "kept", "file:"+second+"/kept.yaml"), s.comesFrom(t, "lost", "file:"+old),
			s.complains(t, old+": RouteRule default/lost: stays in force", old+": RouteRule default/lost-too: stays in force"))
	})
	s.expect(t, 0, nil, "delete", "RouteRule", "lost-too")
	s.expect(t, 0, nil, "apply", "-f", write(t, "lost.yaml", testRule("lost")))
	check(t, errors.Join(s.comesFrom(t, "lost", "api"), s.complains(t)))
	if result := s.outrigger(t, "delete", "RouteRule", "kept"); result.Code == 0 {
		t.Errorf("an object of a watched file was deleted: %s", result)
	}
}

// comesFrom is nil when a RouteRule has an origin.
func (s *site) comesFrom(t *testing.T, name, want string) error {
	t.Helper()
	o, found := s.objects(t)["RouteRule/default/"+name]
	if !found || o.Metadata.Origin != want {
		return fmt.Errorf("RouteRule %s should come from %s, comes from %q", name, want, o.Metadata.Origin)
	}
	return nil
}

// complains is nil when `outrigger status` says this of files, a line for each, and no more.
func (s *site) complains(t *testing.T, want ...string) error {
	t.Helper()
	_, text, _ := strings.Cut(s.expect(t, 0, nil, "status").Stdout, "\nwrong:\n")
	lines := slices.Collect(strings.Lines(text))
	for i, line := range want {
		if len(lines) != len(want) || !strings.Contains(lines[i], line) {
			return fmt.Errorf("status should name %q, and says:\n%s", want, text)
		}
	}
	if len(lines) != len(want) {
		return fmt.Errorf("status should find nothing wrong, and says:\n%s", text)
	}
	return nil
}
