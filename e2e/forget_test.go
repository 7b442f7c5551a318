package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// forget takes the certificates from a host that is stopped, so that it is new to the
// mesh when it is started again.
func forget(t *testing.T, s *site, host string) {
	t.Helper()
	folder := filepath.Join(s.State, "hosts", host)
	removed := 0
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "PRIVATE KEY") {
			return err
		}
		removed++
		return os.Remove(path)
	})
	check(t, err)
	if removed == 0 {
		t.Fatalf("%s keeps no certificate in %s", host, folder)
	}
}
