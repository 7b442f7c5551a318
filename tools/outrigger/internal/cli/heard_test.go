package cli

import (
	"os"
	"strings"
	"testing"
)

func TestTheMeshOfAnotherUserIsNamed(t *testing.T) {
	folder, owner := t.TempDir(), "54321"
	if os.Geteuid() == 0 {
		if err := os.Chown(folder, 54321, -1); err != nil {
			t.Fatal(err)
		}
	} else {
		folder, owner = "/", "0"
	}
	c := &connection{state: folder}
	if text := c.silent("").Error(); !strings.Contains(text, "run by the user with uid "+owner) {
		t.Errorf("another user's mesh: %q", text)
	}
	c = &connection{state: t.TempDir()}
	if text := c.silent("").Error(); !strings.Contains(text, "pilot does not answer at ") {
		t.Errorf("one's own mesh: %q", text)
	}
}
