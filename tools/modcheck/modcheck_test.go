package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite what the trees print")

// TestTrees reads small workspaces: testdata/*.txtar holds the files and want, the
// lines that are printed.
func TestTrees(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("cases: %v, %v", cases, err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			want := 0
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = i
					continue
				}
				write(t, filepath.Join(root, f.Name), f.Data)
			}
			w, err := read(root)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, p := range w.check() {
				got += p + "\n"
			}
			if *update {
				archive.Files[want].Data = []byte(got)
				write(t, path, txtar.Format(archive))
				return
			}
			if d := cmp.Diff(string(archive.Files[want].Data), got); d != "" {
				t.Errorf("printed (-want +got):\n%s", d)
			}
		})
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadRefusesBrokenFiles(t *testing.T) {
	cases := map[string]map[string]string{
		"no go.work":     {"a/go.mod": "module a"},
		"broken go.work": {"go.work": "use ("},
		"broken go.mod":  {"go.work": "go 1.26.0\nuse ./a", "a/go.mod": "modul a"},
	}
	for name, files := range cases {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range files {
				write(t, filepath.Join(root, file), []byte(text))
			}
			if _, err := read(root); err == nil {
				t.Error("read it without an error")
			}
		})
	}
}
