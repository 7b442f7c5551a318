package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every command that works with a state folder takes it from the environment, and from
// its flag before that. The folder that a command means shows in what it says of one
// that it cannot use.
func TestStateFolderOfTheEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string // before the folder's path
	}{
		"up":           {[]string{"up", "--fleet", "../../../../deploy/local/fleet.yaml"}, "the state folder "},
		"down":         {[]string{"down"}, "the state folder "},
		"fleet status": {[]string{"fleet", "status"}, "no fleet answers on "},
		"fleet stop":   {[]string{"fleet", "stop", "pilot"}, "no fleet answers on "},
		"fleet signal": {[]string{"fleet", "signal", "pilot", "KILL"}, "no fleet answers on "},
		"get":          {[]string{"get", "routerules"}, ""},
		"status":       {[]string{"status"}, ""},
		"bus restore":  {[]string{"bus", "restore"}, ""},
		"apply, dry":   {[]string{"apply", "--dry-run", "-f", "../../../../samples/bookinfo/route-rule-all-v1.yaml"}, ""},
		"wait":         {[]string{"wait", "routerule/a"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			variable, flag := filepath.Join(dir, "variable"), filepath.Join(dir, "flag")
			for _, file := range []string{variable, flag} { // no folder
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("OUTRIGGER_STATE", variable)
			says(t, c.args, c.want+variable)
			says(t, append(c.args, "--state", flag), c.want+flag)
		})
	}
}

func says(t *testing.T, args []string, want string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(args, strings.NewReader(""), &out, &errs)
	if text := out.String() + errs.String(); code != exitFailure || !strings.Contains(text, want) {
		t.Errorf("%s: exit code %d, want 1 and %q in\n%s", strings.Join(args, " "), code, want, text)
	}
}
