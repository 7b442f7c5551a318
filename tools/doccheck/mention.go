package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// folders are those of the repository: a text in a code span that begins with one of
// them is the name of a file, there or beside the document, with "*" for any part of it.
var folders = []string{"proto/", "internal/", "services/", "samples/", "deploy/", "docs/", "tools/", "e2e/"}

var pathLike = regexp.MustCompile(`^[\w./*-]+$`)

// lookUp looks for every file that a document names and every place that it links to.
func lookUp(root string, d document) error {
	var problems []error
	for _, m := range d.mentions {
		missing := ""
		switch {
		case m.link:
			missing = missingLink(root, d, m.text)
		case isPath(m.text):
			if !exists(root, m.text) && !exists(filepath.Join(root, filepath.Dir(d.name)), m.text) {
				missing = m.text
			}
		}
		if missing != "" {
			problems = append(problems, fmt.Errorf("%s:%d: there is no %s", d.name, m.line, missing))
		}
	}
	return errors.Join(problems...)
}

// exists tells whether there is anything of a name, which may have "*" for any part.
func exists(dir, name string) bool {
	found, err := filepath.Glob(filepath.Join(dir, name))
	return err == nil && len(found) > 0
}

func isPath(text string) bool {
	if !pathLike.MatchString(text) {
		return false
	}
	for _, folder := range folders {
		if strings.HasPrefix(text, folder) && text != folder {
			return true
		}
	}
	return false
}

// missingLink returns what a link leads to if that is not there.
func missingLink(root string, d document, target string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return ""
	}
	path, heading, _ := strings.Cut(target, "#")
	if path == "" {
		if heading != "" && !d.headings[heading] {
			return "heading #" + heading
		}
		return ""
	}
	name := filepath.Join(filepath.Dir(d.name), path)
	text, err := os.ReadFile(filepath.Join(root, name))
	if info, statErr := os.Stat(filepath.Join(root, name)); err != nil && (statErr != nil || !info.IsDir()) {
		return name
	}
	if heading == "" {
		return ""
	}
	other, err := parse(name, string(text))
	if err != nil || !other.headings[heading] {
		return "heading #" + heading + " in " + name
	}
	return ""
}
