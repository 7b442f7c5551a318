package logfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/logfile"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, f *logfile.File, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if n, err := f.Write([]byte(text)); err != nil || n != len(text) {
			t.Fatalf("write %q: %d, %v", text, n, err)
		}
	}
}

func TestFileIsBoundedAndKeepsTheOneBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := logfile.Open(path, 12)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, "one\n", "two\n")
	if got := read(t, path); got != "old\none\ntwo\n" {
		t.Errorf("file is %q, want all three lines", got)
	}
	write(t, f, "three\n")
	if got := read(t, path); got != "three\n" {
		t.Errorf("file is %q, want the line that had no place", got)
	}
	if got := read(t, path+".1"); got != "old\none\ntwo\n" {
		t.Errorf("file before is %q", got)
	}
	write(t, f, strings.Repeat("x", 30), "y")
	if got := read(t, path); got != "y" {
		t.Errorf("file after a long line is %q, want y", got)
	}
}

func TestTailIsWhatWasWrittenLast(t *testing.T) {
	f, err := logfile.Open(filepath.Join(t.TempDir(), "log"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := f.Tail(3); got != "" {
		t.Errorf("tail of nothing is %q", got)
	}
	write(t, f, "a\nb\n", "c\nd\n")
	if got := f.Tail(3); got != "b\nc\nd" {
		t.Errorf("tail is %q, want the last three lines", got)
	}
	write(t, f, strings.Repeat("e", 10000)+"\n")
	if got := f.Tail(3); len(got) > 4096 || strings.Trim(got, "e") != "" {
		t.Errorf("tail has %d bytes, want at most 4096 of the last line", len(got))
	}
	f.Forget()
	write(t, f, "new")
	if got := f.Tail(3); got != "new" {
		t.Errorf("tail is %q, want new", got)
	}
}

func TestWriteAfterCloseFails(t *testing.T) {
	f, err := logfile.Open(filepath.Join(t.TempDir(), "log"), 9)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("no error")
	}
	if err := f.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}
