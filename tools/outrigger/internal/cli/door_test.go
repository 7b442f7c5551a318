package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// A socket that anybody could have put there is not spoken to.
func TestAStrangersSocketIsNotSpokenTo(t *testing.T) {
	state := t.TempDir()
	newPilot().serve(t, state)
	t.Setenv("OUTRIGGER_STATE", state)
	run := filepath.Join(state, "run")
	for _, args := range [][]string{
		{"get", "routerules"}, {"status"}, {"bus", "restore"}, {"wait", "routerule/a"}, {"delete", "routerule", "a"},
		{"apply", "-f", "../../../../samples/bookinfo/route-rule-all-v1.yaml"},
	} {
		if err := os.Chmod(run, 0o777); err != nil {
			t.Fatal(err)
		}
		says(t, args, "the sockets in "+run+" cannot be believed: the folder can be written by everybody")
	}
}
