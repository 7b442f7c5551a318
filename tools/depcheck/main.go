// Command depcheck enforces which way imports may point, and that pure packages have no
// clock and nobody sleeps.
//
// In come the modules that go.work lists and the table in table.yaml; out comes one line
// per import or call that is not allowed, with the reason for the ban, and exit code 1.
// It reads source files only: it builds nothing and needs no network.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
)

func main() {
	root := flag.String("root", ".", "repository `folder`")
	flag.Parse()
	n, err := run(*root, tableYAML, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "depcheck:", err)
		os.Exit(2)
	}
	if n > 0 {
		fmt.Fprintf(os.Stderr, "depcheck: %d imports or calls are not allowed\n", n)
		os.Exit(1)
	}
}

// run checks all modules, prints what is wrong in order of place, and counts it.
func run(root string, text []byte, out io.Writer) (int, error) {
	t, err := parseTable(text)
	if err != nil {
		return 0, err
	}
	dirs, err := modules(root)
	if err != nil {
		return 0, err
	}
	var found []problem
	strangers := map[string]bool{} // a folder without row is told once
	for _, dir := range dirs {
		files, err := scan(root, dir)
		if err != nil {
			return 0, err
		}
		for _, f := range files {
			if !strangers[f.dir] {
				found = append(found, t.judge(f)...)
			}
			strangers[f.dir] = strangers[f.dir] || !t.known(f.dir)
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := found[i].at, found[j].at
		return a.Filename < b.Filename || a.Filename == b.Filename && a.Offset < b.Offset
	})
	for _, p := range found {
		name, err := filepath.Rel(root, p.at.Filename)
		if err != nil {
			name = p.at.Filename
		}
		fmt.Fprintf(out, "%s:%d: %s: %s\n", filepath.ToSlash(name), p.at.Line, p.text, p.why)
	}
	return len(found), nil
}
