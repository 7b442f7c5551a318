package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite what the trees print")

// TestTrees runs the checker over small repositories. Each testdata/*.txtar holds
// go.work, table.yaml, source files and want: the lines that are printed.
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
			var text, want []byte
			for _, f := range archive.Files {
				switch f.Name {
				case "table.yaml":
					text = f.Data
				case "want":
					want = f.Data
				default:
					write(t, filepath.Join(root, f.Name), f.Data)
				}
			}
			var out bytes.Buffer
			n, err := run(root, text, &out)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				rewrite(t, path, archive, out.Bytes())
				return
			}
			if d := cmp.Diff(string(want), out.String()); d != "" {
				t.Errorf("printed (-want +got):\n%s", d)
			}
			if lines := bytes.Count(want, []byte("\n")); n != lines {
				t.Errorf("counted %d problems, want %d", n, lines)
			}
		})
	}
}

// rewrite puts what was printed into the archive.
func rewrite(t *testing.T, path string, archive *txtar.Archive, printed []byte) {
	t.Helper()
	for i := range archive.Files {
		if archive.Files[i].Name == "want" {
			archive.Files[i].Data = printed
		}
	}
	write(t, path, txtar.Format(archive))
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

func TestTheTableIsSound(t *testing.T) {
	table, err := parseTable(tableYAML)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Services) == 0 || len(table.Shared) == 0 {
		t.Errorf("%d services and %d shared parts, want some of each", len(table.Services), len(table.Shared))
	}
}

func TestParseTableRefuses(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"unknown key":           {"modul: x", "modul"},
		"folder without reason": {"module: m\nfolders: [{path: a}]", `folder "a" gives no reason`},
		"exception unexplained": {"module: m\nservices: {a: {edge: {internal/x: {also: {internal/y: ''}}}}}", "may also import internal/y without a reason"},
		"light without a list":  {"module: m\nservices: {a: {light: because}}", "shared and light go together"},
		"no module":             {"tests: []", "no module"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := parseTable([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestRunNeedsAWorkspace(t *testing.T) {
	if _, err := run(t.TempDir(), tableYAML, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "go.work") {
		t.Errorf("error %v, want that go.work is missing", err)
	}
}
