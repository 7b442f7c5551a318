package folder

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// originPrefix begins the origin of every object from a file.
const originPrefix = "file:"

// Dirs are the watched folders by their absolute paths, each once.
type Dirs []string

// Absolute returns the folders that paths name. Errors: a path that cannot be made
// absolute.
func Absolute(paths []string) (Dirs, error) {
	var out Dirs
	for _, p := range paths {
		dir, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("folder %s: %w", p, err)
		}
		if !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	return out, nil
}

// Keep reports whether an origin still has its objects in hand. A file has if it is, or
// would be, looked at; what is no file always has.
func (d Dirs) Keep(origin string) bool {
	path, file := strings.CutPrefix(origin, originPrefix)
	return !file || d.hold(path)
}

// hold reports whether a file of this path would be looked at.
func (d Dirs) hold(path string) bool {
	return slices.ContainsFunc(d, func(dir string) bool { return holds(dir, path) })
}

func holds(dir, path string) bool {
	rel, inside := within(dir, path)
	if !inside {
		return false
	}
	parts := strings.Split(rel, string(filepath.Separator))
	last := len(parts) - 1
	return last <= 1 && isDocument(parts[last]) && (last == 0 || !isDocument(parts[0])) &&
		!slices.ContainsFunc(parts, isHidden)
}

// within returns where in a folder a path is. Both are absolute and clean.
func within(dir, path string) (rel string, inside bool) {
	const separator = string(filepath.Separator)
	return strings.CutPrefix(path, strings.TrimSuffix(dir, separator)+separator)
}

func isDocument(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// isHidden is true of the names of parent folders, too.
func isHidden(name string) bool { return strings.HasPrefix(name, ".") }
