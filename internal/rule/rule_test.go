package rule

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the wanted output in testdata")

// TestGolden runs the archives of testdata. Each has the sections bags (JSON, name to
// attributes), expressions (one a line, blank lines and # comments aside) and want. The
// first word of the archive's name says what is done with the expressions.
func TestGolden(t *testing.T) {
	t.Parallel()
	modes := map[string]func(string, map[string]map[string]any) []string{
		"translate": translated, "cel": compiled, "concern": concerning,
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %v, %d archives", err, len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			mode, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txtar"), "-")
			golden(t, file, modes[mode])
		})
	}
}

func golden(t *testing.T, file string, show func(string, map[string]map[string]any) []string) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bags := map[string]map[string]any{}
	if err := json.Unmarshal(section(t, a, "bags").Data, &bags); err != nil {
		t.Fatalf("bags: %v", err)
	}
	for name, bag := range bags {
		for attribute, v := range bag {
			bags[name][attribute] = value(t, attribute, v)
		}
	}
	var got bytes.Buffer
	for line := range strings.Lines(string(section(t, a, "expressions").Data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fmt.Fprintln(&got, line)
		for _, s := range show(line, bags) {
			fmt.Fprintln(&got, "\t"+s)
		}
	}
	want := section(t, a, "want")
	if *update {
		want.Data = got.Bytes()
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(want.Data), got.String()); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func section(t *testing.T, a *txtar.Archive, name string) *txtar.File {
	t.Helper()
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	t.Fatalf("archive has no section %q", name)
	return nil
}

// value makes an attribute's value from JSON; null stays nil.
func value(t *testing.T, attribute string, v any) any {
	t.Helper()
	typ, ok := Attributes()[attribute]
	if !ok {
		t.Fatalf("bag: attribute %s is not known", attribute)
	}
	if v == nil {
		return nil
	}
	var err error
	switch typ {
	case Int64:
		return int64(v.(float64))
	case IPAddress:
		v, err = netip.ParseAddr(v.(string))
	case Timestamp:
		v, err = time.Parse(time.RFC3339, v.(string))
	case Duration:
		v, err = time.ParseDuration(v.(string))
	case StringMap:
		m := map[string]string{}
		for k, s := range v.(map[string]any) {
			m[k] = s.(string)
		}
		return m
	}
	if err != nil {
		t.Fatalf("bag: attribute %s: %v", attribute, err)
	}
	return v
}

func translated(expr string, bags map[string]map[string]any) []string {
	out, err := Translate02(expr)
	if err != nil {
		return []string{"refused: " + err.Error()}
	}
	return append([]string{"cel: " + out}, compiled(out, bags)...)
}

func compiled(expr string, bags map[string]map[string]any) []string {
	p, err := Compile(expr, Any)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	out := []string{fmt.Sprintf("type: %v, reads %s", p.Type(), strings.Join(p.Attributes(), " "))}
	for _, name := range slices.Sorted(maps.Keys(bags)) {
		v, err := p.Eval(Map(bags[name]))
		switch what, missing := AbsentAttribute(err); {
		case missing:
			out = append(out, name+": absent: "+what)
		case err != nil:
			out = append(out, name+": error: "+err.Error())
		case p.Type() == String:
			out = append(out, fmt.Sprintf("%s: %q", name, v))
		default:
			out = append(out, fmt.Sprintf("%s: %v", name, v))
		}
	}
	return out
}

func concerning(expr string, bags map[string]map[string]any) []string {
	p, err := Compile(expr, Bool)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(bags)) {
		out = append(out, fmt.Sprintf("%s: %v", name, MayConcern(p, bags[name])))
	}
	return out
}

func TestKeysThatAreRead(t *testing.T) {
	t.Parallel()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]string{
		`request.headers["x-robot"] == "yes"`:                                   {"x-robot"},
		`first(request.headers["a"], request.headers["b"], "c") == "x"`:         {"a", "b"},
		`"a" in request.headers && request.headers["b"] == request.path`:        {"a", "b"},
		`request.headers[request.path] == "x" || source.labels["app"] == "y"`:   nil,
		`source.name == "x" && request.method == "GET"`:                         nil,
		`destination.labels["app"] == "p" && request.headers["x-robot"] != "y"`: {"x-robot"},
	} {
		p, err := l.Compile(text, Bool)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := p.Keys("request.headers"); !slices.Equal(got, want) {
			t.Errorf("%s reads the headers %q, want %q", text, got, want)
		}
	}
}
