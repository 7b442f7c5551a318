package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shelf is a fetcher that holds one wheel and counts how often it is asked.
type shelf struct {
	text  []byte
	asked int
}

func (s *shelf) Fetch(_ context.Context, w *wheel, _, dir string) (string, error) {
	s.asked++
	path := filepath.Join(dir, w.Package+".whl")
	return path, os.WriteFile(path, s.text, 0o644)
}

func hash(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:])
}

// script is what the test wheel installs: a program that tells its version.
const script = "#!/bin/sh\necho tool 1.2.3\n"

func makeWheel(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// arrange makes an installer for one part, "tool", in a folder of its own.
func arrange(t *testing.T) (*installer, *shelf, *bytes.Buffer) {
	t.Helper()
	s := &shelf{text: makeWheel(t, "pkg/bin/tool", script)}
	table := pins{
		Groups: map[string][]string{"run": {"tool"}},
		Parts: map[string]part{"tool": {
			Title: "tool 1.2.3",
			Wheel: &wheel{Package: "tool", Version: "1.2.3", Any: &archive{
				SHA256: hash(s.text),
				Files:  []member{{From: "pkg/bin/tool", To: "tool/1.2.3/tool", Mode: 0o755, SHA256: hash([]byte(script))}},
			}},
			Probe: &probe{Run: []string{"tool/1.2.3/tool"}, Contains: "1.2.3", Hint: "it needs a shell"},
		}},
	}
	var out bytes.Buffer
	in, err := newInstaller(t.TempDir(), table, &out)
	if err != nil {
		t.Fatal(err)
	}
	in.fetch = s
	return in, s, &out
}

func TestInstallPutsThePartInPlaceOnce(t *testing.T) {
	in, s, out := arrange(t)
	for range 3 {
		if err := in.Install(t.Context(), []string{"run"}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(in.dir, "tool/1.2.3/tool")
	if got, err := os.ReadFile(path); err != nil || string(got) != script {
		t.Errorf("installed %q, %v; want %q", got, err, script)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v; want 0755", info.Mode(), err)
	}
	if s.asked != 1 {
		t.Errorf("three runs fetched %d times, want once", s.asked)
	}
	if got := strings.Count(out.String(), "ready      tool 1.2.3"); got != 2 {
		t.Errorf("said ready %d times, want 2:\n%s", got, out)
	}
}

func TestInstallReplacesAFileThatChanged(t *testing.T) {
	in, s, _ := arrange(t)
	if err := in.Install(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(in.dir, "tool/1.2.3/tool")
	if err := os.WriteFile(path, []byte("another program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := in.Install(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != script {
		t.Errorf("after repair %q, %v; want %q", got, err, script)
	}
	if s.asked != 2 {
		t.Errorf("fetched %d times, want 2", s.asked)
	}
}

func TestInstallRefuses(t *testing.T) {
	other := hash([]byte("other"))
	cases := map[string]struct {
		change func(in *installer, s *shelf)
		want   string
	}{
		"another wheel": {func(_ *installer, s *shelf) { s.text = makeWheel(t, "pkg/bin/tool", "evil") }, "nothing was installed"},
		"another file": {func(in *installer, _ *shelf) {
			in.table.Parts["tool"].Wheel.Any.Files[0].SHA256 = other
		}, "pkg/bin/tool has sha256"},
		"a wheel without the file": {func(in *installer, _ *shelf) {
			in.table.Parts["tool"].Wheel.Any.Files[0].From = "pkg/none"
		}, "wheel without pkg/none"},
		"a machine without wheel": {func(in *installer, _ *shelf) {
			w := in.table.Parts["tool"].Wheel
			w.AMD64, w.Any, in.goarch = w.Any, nil, "riscv64"
		}, "this machine is linux/riscv64"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in, s, _ := arrange(t)
			c.change(in, s)
			err := in.Install(t.Context(), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if left, _ := filepath.Glob(filepath.Join(in.dir, "tool/1.2.3/*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if left, _ := filepath.Glob(filepath.Join(in.dir, "fetch-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestInstallNamesAPartThatDoesNotStart(t *testing.T) {
	in, _, _ := arrange(t)
	in.table.Parts["tool"].Probe.Contains = "9.9.9"
	err := in.Install(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), `says "tool 1.2.3", want "9.9.9"`) {
		t.Errorf("error %v, want the version it found", err)
	}
	if err := in.Install(t.Context(), nil); err == nil {
		t.Error("a part that failed its probe counted as installed in the next run")
	}
}

func TestInstallRefusesAnUnknownGroup(t *testing.T) {
	in, _, _ := arrange(t)
	err := in.Install(t.Context(), []string{"nothing"})
	if err == nil || !strings.Contains(err.Error(), `no group or part "nothing"; groups are run`) {
		t.Errorf("error %v, want the groups that exist", err)
	}
}

func TestPipWithoutPythonSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := pip{dir: t.TempDir()}.Fetch(t.Context(), &wheel{Package: "tool", Version: "1"}, "", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "python3 is missing: install Python 3.9 or newer") {
		t.Errorf("error %v, want what to install", err)
	}
}

func TestTheTableIsSound(t *testing.T) {
	p, err := parsePins(pinsYAML)
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		for name, part := range p.Parts {
			if part.Wheel == nil {
				continue
			}
			if _, err := part.Wheel.archiveFor("linux", arch); err != nil {
				t.Errorf("part %s: %v", name, err)
			}
		}
	}
}

func TestParsePinsRefuses(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"unknown key":      {"parts: {a: {titel: x}}", "titel"},
		"no source":        {"parts: {a: {title: x}}", "exactly one of wheel and go"},
		"no hash":          {"parts: {a: {wheel: {any: {files: [{from: a, to: b, mode: 0755}]}}}}", "needs its sha256"},
		"path that climbs": {"parts: {a: {wheel: {any: {sha256: " + hash(nil) + ", files: [{from: a, to: ../b, mode: 0755, sha256: " + hash(nil) + "}]}}}}", "below the tools folder"},
		"unknown part":     {"groups: {run: [b]}", `names part "b"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := parsePins([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
