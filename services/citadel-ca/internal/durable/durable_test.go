package durable

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReplaceKeepsModeAndLeavesNothingBeside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil { //nolint:gosec // too open on purpose
		t.Fatal(err)
	}
	if err := Replace(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSecret(path)
	if err != nil || string(got) != "new" {
		t.Errorf("got %q, %v; want new", got, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("folder has %v, %v; want one file", left, err)
	}
}

func TestReplaceKeepsTheOldFileWhenItCannotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("new")); err == nil { // a folder cannot be renamed over
		t.Error("no error")
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("folder has %v, %v; want what was there", left, err)
	}
}

func TestReadSecretRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("s"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file("group", 0o640):         "mode 0640",
		file("world", 0o604):         "mode 0604",
		file("writable", 0o620):      "mode 0620",
		dir:                          "not a regular file",
		pipe:                         "not a regular file",
		filepath.Join(dir, "absent"): "no such file",
	} {
		if _, err := ReadSecret(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q and the path", path, err, want)
		}
	}
	if _, err := ReadSecret(file("good", 0o400)); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(big); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("1 MiB and a byte: got %v", err)
	}
}
