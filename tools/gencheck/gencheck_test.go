package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// put writes files below a new folder.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCompareNamesEveryKindOfDifference(t *testing.T) {
	committed := put(t, map[string]string{"go/same.go": "a", "go/old.go": "a", "go/gone.go": "a"})
	fresh := put(t, map[string]string{"go/same.go": "a", "go/old.go": "b", "go/new.go": "c"})
	diffs, err := compare(committed, fresh)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, d := range diffs {
		got[d.name] = d.state
	}
	want := map[string]string{"go/old.go": "out of date", "go/new.go": "missing", "go/gone.go": "left over: no contract makes it"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
}

func TestApplyMakesTheFoldersEqual(t *testing.T) {
	committed := put(t, map[string]string{"go/same.go": "a", "go/old.go": "a", "go/gone.go": "a"})
	fresh := put(t, map[string]string{"go/same.go": "a", "go/old.go": "b", "new/deep/new.go": "c"})
	diffs, err := compare(committed, fresh)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := apply(diffs, &out); err != nil {
		t.Fatal(err)
	}
	left, err := compare(committed, fresh)
	if err != nil || len(left) != 0 {
		t.Errorf("after apply: %v, %v; want no difference", left, err)
	}
	if want := "removed go/gone.go\nwrote go/old.go\nwrote new/deep/new.go\n"; out.String() != want {
		t.Errorf("told %q, want %q", out.String(), want)
	}
}

func TestCompareTakesAMissingFolderAsEmpty(t *testing.T) {
	fresh := put(t, map[string]string{"a.go": "a"})
	diffs, err := compare(filepath.Join(t.TempDir(), "none"), fresh)
	if err != nil || len(diffs) != 1 || diffs[0].state != "missing" {
		t.Errorf("got %v, %v; want a.go missing", diffs, err)
	}
}

func TestRestPackages(t *testing.T) {
	dir := put(t, map[string]string{
		"outrigger/pilot/v1/a.proto": `import "google/api/annotations.proto";`,
		"outrigger/pilot/v1/b.proto": `import "google/api/annotations.proto";`,
		"outrigger/ca/v1/a.proto":    `import "google/api/annotations.proto";`,
		"outrigger/bus/v1/a.proto":   `message Envelope {}`,
		"gen/openapi/notes.txt":      `google/api/annotations.proto`,
	})
	got, err := restPackages(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"outrigger/ca/v1", "outrigger/pilot/v1"}, got); d != "" {
		t.Errorf("packages (-want +got):\n%s", d)
	}
}

func TestEmbedHasOneVariablePerService(t *testing.T) {
	dir := t.TempDir()
	if err := writeEmbed(dir, []string{"ca", "pilot"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "openapi.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"//go:embed ca.swagger.json\nvar CA string", "//go:embed pilot.swagger.json\nvar Pilot string"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("openapi.go lacks %q:\n%s", want, text)
		}
	}
}

func TestTitle(t *testing.T) {
	dir := put(t, map[string]string{"pilot.swagger.json": `{"swagger":"2.0","info":{"title":"a/b.proto"},"paths":{"/v1/x":{}}}`})
	path := filepath.Join(dir, "pilot.swagger.json")
	if err := title(path, "pilot", "outrigger/pilot/v1"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"title": "Outrigger Pilot API"`, `"version": "v1"`, `"/v1/x": {}`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("document lacks %s:\n%s", want, text)
		}
	}
}
