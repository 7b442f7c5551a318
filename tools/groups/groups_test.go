package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// repository makes a folder with files and a runner for it.
func repository(t *testing.T, files map[string]string) (runner, *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	return runner{root: root, out: &out, check: map[string]func(context.Context) error{
		"sky":  func(context.Context) error { return errors.New("the sky is missing: look up") },
		"soil": func(context.Context) error { return nil },
	}}, &out
}

func sh(script string) []step { return []step{{Run: []string{"sh", "-c", script}}} }

func TestRunGoesOnAfterAFailure(t *testing.T) {
	r, out := repository(t, nil)
	results := r.Run(t.Context(), []group{
		{Name: "first", Limit: time.Minute, Steps: sh("echo from the first; exit 4")},
		{Name: "second", Limit: time.Minute, Needs: []string{"soil", "sky"}, Steps: sh("echo never")},
		{Name: "third", Limit: time.Minute, Needs: []string{"soil"}, Steps: sh("echo from the third")},
	})
	got := map[string]string{}
	for _, r := range results {
		got[r.name] = string(r.state) + ": " + r.reason
	}
	want := map[string]string{
		"first":  "FAILED: sh -c: exit status 4",
		"second": "not run: the sky is missing: look up",
		"third":  "passed: ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("results (-want +got):\n%s", d)
	}
	for _, text := range []string{"from the first", "from the third", "second cannot run: the sky is missing"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("output lacks %q:\n%s", text, out)
		}
	}
	if strings.Contains(out.String(), "never") {
		t.Errorf("a group ran without what it needs:\n%s", out)
	}
}

func TestALaterStepRunsAfterAFailedOne(t *testing.T) {
	r, out := repository(t, map[string]string{"a/x": "", "b/x": ""})
	r.modules = []string{"a", "b"}
	results := r.Run(t.Context(), []group{{Name: "g", Limit: time.Minute, Steps: []step{
		{About: "look", Run: []string{"sh", "-c", "basename $PWD; test $(basename $PWD) = b"}, Each: true},
	}}})
	if got, want := results[0].reason, "look in a: exit status 1"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	if !strings.Contains(out.String(), "\nb\n") {
		t.Errorf("the second module was left out:\n%s", out)
	}
}

func TestAStepForAllModulesAtOnce(t *testing.T) {
	r, out := repository(t, map[string]string{"a/x": "", "b/x": ""})
	r.modules = []string{"a", "b"}
	results := r.Run(t.Context(), []group{{Name: "g", Limit: time.Minute, Steps: []step{
		{Run: []string{"sh", "-c", "echo $# $1 $2 $GOWORK", "sh", "{modules}/..."}, Workspace: true},
		{Run: []string{"sh", "-c", "echo alone $GOWORK"}},
	}}})
	want := "2 ./a/... ./b/... " + filepath.Join(r.root, "go.work") + "\nalone off\n"
	if results[0].state != passed || !strings.Contains(out.String(), want) {
		t.Errorf("result %+v, want %q in the output:\n%s", results[0], want, out)
	}
}

func TestAGroupIsEndedAtItsLimitWithAllItsProcesses(t *testing.T) {
	r, _ := repository(t, nil)
	began := time.Now()
	results := r.Run(t.Context(), []group{{Name: "g", Limit: 300 * time.Millisecond, Steps: sh("sleep 60 & wait")}})
	if results[0].state != failed || !strings.Contains(results[0].reason, "time limit") {
		t.Errorf("result %+v, want failed at its limit", results[0])
	}
	if took := time.Since(began); took > stopDelay {
		t.Errorf("ended after %s: a child kept it", took)
	}
}

func TestAnInterruptLeavesTheRestOut(t *testing.T) {
	r, _ := repository(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results := r.Run(ctx, []group{{Name: "g", Limit: time.Minute, Steps: sh("exit 0")}})
	if results[0].state != notRun || results[0].reason != "interrupted" {
		t.Errorf("result %+v, want not run", results[0])
	}
}

func TestReport(t *testing.T) {
	good := result{name: "good", state: passed, took: 1500 * time.Millisecond}
	bad := result{name: "bad", state: failed, reason: "exit status 1"}
	left := result{name: "left", state: notRun, reason: "needs root"}
	cases := []struct {
		name    string
		results []result
		ci      bool
		want    int
		closing string
	}{
		{"all passed", []result{good}, false, exitPassed, "groups: 1 passed, 0 failed, 0 not run"},
		{"one failed", []result{good, bad, left}, false, exitFailed, "groups: 1 passed, 1 failed, 1 not run"},
		{"one not run", []result{good, left}, false, exitNotRun, "groups: 1 passed, 0 failed, 1 not run"},
		{"one not run in CI", []result{good, left}, true, exitFailed, "CI=true: a group that could not run is a failure"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if got := report(&out, c.results, c.ci); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
			for _, want := range []string{c.closing, "good             passed        1.5"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("table lacks %q:\n%s", want, out.String())
				}
			}
		})
	}
}

func TestFormatted(t *testing.T) {
	r, out := repository(t, map[string]string{
		"a/good.go": "package a\n", "a/gen/x.go": "package   x", "b/testdata/x.go": "package   x", ".tools/x.go": "package   x",
	})
	if err := r.formatted(); err != nil {
		t.Errorf("error %v, want none:\n%s", err, out)
	}
	r, out = repository(t, map[string]string{"a/bad.go": "package   a\n"})
	if err := r.formatted(); err == nil || !strings.Contains(out.String(), "a/bad.go") {
		t.Errorf("error %v, want one that names a/bad.go:\n%s", err, out)
	}
}

func TestTheTableIsSound(t *testing.T) {
	all, err := parseGroups(groupsYAML, []string{"services/pilot", "tools", "e2e"})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	for _, g := range all {
		names[g.Name]++
	}
	for _, want := range []string{"lint", "pilot", "tools", "e2e-root", "e2e-user"} {
		if names[want] != 1 {
			t.Errorf("group %s is there %d times, want once: %v", want, names[want], names)
		}
	}
	if names["e2e"] != 0 || names["unit"] != 0 {
		t.Errorf("groups %v: e2e runs as groups of its own", names)
	}
}

func TestParseGroupsRefuses(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"unknown key":  {"groups: [{nam: x}]", "nam"},
		"no limit":     {"groups: [{name: x, steps: [{run: [a]}]}]", `group "x" needs a limit`},
		"unknown need": {"groups: [{name: x, limit: 1m, needs: [moon], steps: [{run: [a]}]}]", `needs "moon"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := parseGroups([]byte(c.text), nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	all := []group{{Name: "a"}, {Name: "b", of: "unit"}, {Name: "c", of: "unit"}}
	got, err := choose(all, []string{"c", "a"})
	if err != nil || len(got) != 2 || got[0].Name != "a" || got[1].Name != "c" {
		t.Errorf("chose %v, %v; want a and c in the table's order", got, err)
	}
	if got, err := choose(all, []string{"unit"}); err != nil || len(got) != 2 || got[0].Name != "b" {
		t.Errorf("chose %v, %v; want all of the row unit", got, err)
	}
	if _, err := choose(all, []string{"d"}); err == nil || !strings.Contains(err.Error(), `no group "d"; there are a, b, c`) {
		t.Errorf("error %v, want the groups that exist", err)
	}
}

// userTest is a module whose test passes for an ordinary user with a folder of its own.
const userTest = `package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFirst(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Error("runs as root")
	}
	root := os.Getenv("OUTRIGGER_ROOT")
	if text, err := os.ReadFile(filepath.Join(root, "deploy/config/x.yaml")); err != nil || string(text) != "x: 1" {
		t.Errorf("reading the repository: %q, %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "x"), nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(root, "deploy/config/x.yaml"), nil, 0o600); err == nil {
		t.Error("may write a file of the repository")
	}
}
`

func TestAnOrdinaryUserGetsAFolderOfItsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("as an ordinary user the step runs as oneself, who may write the repository")
	}
	r, out := repository(t, map[string]string{
		"go.work": "go 1.26.0\n", "deploy/config/x.yaml": "x: 1",
		"e2e/go.mod": "module e2e\n\ngo 1.26\n", "e2e/e2e_test.go": userTest,
	})
	s := step{Run: []string{"e2e.test", "-test.v", "-test.run=^TestFirst"}, Dir: "e2e", User: true}
	err := r.asUser(t.Context(), s, "e2e")
	if os.Geteuid() == 0 && err != nil || !strings.Contains(out.String(), "=== RUN   TestFirst") {
		t.Errorf("error %v, want the test to run and pass:\n%s", err, out)
	}
	if text, err := os.ReadFile(filepath.Join(r.root, "deploy/config/x.yaml")); err != nil || os.Geteuid() == 0 && string(text) != "x: 1" {
		t.Errorf("the repository's file has become %q, %v", text, err)
	}
}

func TestConditionsSayWhatToDo(t *testing.T) {
	for name, check := range conditions {
		err := check(t.Context())
		if err != nil && len(err.Error()) < 30 {
			t.Errorf("%s: %q is too short to help", name, err)
		}
	}
}
