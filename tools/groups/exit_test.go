package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tableVariable makes the test binary the command itself, with the table in the variable.
const tableVariable = "GROUPS_TEST_TABLE"

func TestMain(m *testing.M) {
	if table := os.Getenv(tableVariable); table != "" {
		groupsYAML = []byte(table)
		main()
		return
	}
	os.Exit(m.Run())
}

// TestExitCodeOfTheCommand runs it where one group lacks something.
func TestExitCodeOfTheCommand(t *testing.T) {
	const lacks = "  - {name: lacks, about: x, limit: 1m, needs: [curl], steps: [{run: [sh, -c, echo never]}]}\n"
	const works = "  - {name: works, about: x, limit: 1m, steps: [{run: [sh, -c, echo worked]}]}\n"
	const fails = "  - {name: fails, about: x, limit: 1m, steps: [{run: [sh, -c, echo worked; exit 9]}]}\n"
	cases := []struct {
		name, table, ci string
		want            int
		closing         string
	}{
		{"all pass", works, "", 0, "groups: 1 passed, 0 failed, 0 not run"},
		{"one cannot run", lacks + works, "", 3, "groups: 1 passed, 0 failed, 1 not run"},
		{"one cannot run in CI", lacks + works, "true", 1, "CI=true: a group that could not run is a failure"},
		{"one cannot run and one fails", lacks + fails, "", 1, "groups: 0 passed, 1 failed, 1 not run"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, _ := repository(t, map[string]string{"go.work": "go 1.26.0\n"})
			code, output := groupsCommand(t, r.root, "groups:\n"+c.table, c.ci)
			if code != c.want {
				t.Errorf("exit code %d, want %d", code, c.want)
			}
			for _, want := range []string{"\nworked\n", c.closing} {
				if !strings.Contains(output, want) {
					t.Errorf("output lacks %q:\n%s", want, output)
				}
			}
			if strings.Contains(c.table, lacks) && !strings.Contains(output, "lacks cannot run: curl is missing: install it") {
				t.Errorf("nothing says why a group could not run:\n%s", output)
			}
			if strings.Contains(output, "never") {
				t.Errorf("a group ran without what it needs:\n%s", output)
			}
		})
	}
}

// groupsCommand runs the command in a repository where sh is the only program.
func groupsCommand(t *testing.T, root, table, ci string) (code int, output string) {
	t.Helper()
	programs := t.TempDir()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shell, filepath.Join(programs, "sh")); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "/proc/self/exe", "-root", root)
	command.Env = []string{tableVariable + "=" + table, "PATH=" + programs, "CI=" + ci}
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(text)
}
