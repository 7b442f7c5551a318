package cli

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOfAFolderOnlyFilesAreRead(t *testing.T) {
	cases := map[string]struct {
		make func(path string) error
		want string
	}{
		"pipe": {func(path string) error { return unix.Mkfifo(path, 0o600) }, "is a named pipe"},
		"socket": {func(path string) error {
			l, err := net.Listen("unix", path)
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}, "is a socket"},
		"device": {func(path string) error { return os.Symlink("/dev/zero", path) }, "is a device"},
		"folder": {func(path string) error { return os.Symlink("/", path) }, "is a link to a folder"},
		"none":   {func(path string) error { return os.Symlink("nowhere", path) }, "no such file"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			good, strange := filepath.Join(folder, "a.yaml"), filepath.Join(folder, "p.yaml")
			if err := os.WriteFile(good, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := c.make(strange); err != nil {
				t.Fatal(err)
			}
			var errs bytes.Buffer
			_, err := documents([]string{folder}, streams{})
			if code := report(err, &errs); code == 0 || !strings.Contains(errs.String(), strange) || !strings.Contains(errs.String(), c.want) {
				t.Errorf("exit code %d, and said %q; want a refusal of %s that says %q", code, errs.String(), strange, c.want)
			}
		})
	}
}

func TestAPipeThatIsNamedIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(path, []byte("kind: Rule\n"), 0o600) }()
	docs, err := documents([]string{path}, streams{})
	if err != nil || len(docs) != 1 || string(docs[0].GetContent()) != "kind: Rule\n" {
		t.Errorf("read %v, error %v; want what was written to the pipe", docs, err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestUpWantsTimeToComeUp(t *testing.T) {
	var errs bytes.Buffer
	if code := Main([]string{"up", "--timeout", "-1s"}, nil, &errs, &errs); code != exitUsage || !strings.Contains(errs.String(), "--timeout -1s: want more than 0") {
		t.Errorf("exit code %d, said %q; want a refusal of the timeout", code, errs.String())
	}
}

func TestATimeoutIsForWaiting(t *testing.T) {
	for _, command := range [][]string{{"apply", "-f", "x.yaml"}, {"delete", "-f", "x.yaml"}} {
		var errs bytes.Buffer
		code := Main(append(command, "--timeout", "5s"), nil, &errs, &errs)
		if code != exitUsage || !strings.Contains(errs.String(), "say --wait as well") {
			t.Errorf("%v: exit code %d, said %q; want a refusal of a timeout without --wait", command, code, errs.String())
		}
	}
}

func TestATerminalsLineCutsTheLastColumnOnly(t *testing.T) {
	table := &table{head: []string{"NAME", "WHAT"}}
	table.add("a-name-that-is-long", "something that is longer than the line")
	for width, want := range map[int]string{
		40: "NAME                 WHAT\na-name-that-is-long  something that is …\n",
		10: "NAME                 WHAT\na-name-that-is-long  something t…\n",
		80: "NAME                 WHAT\na-name-that-is-long  something that is longer than the line\n",
	} {
		var out bytes.Buffer
		table.write(&out, width)
		if out.String() != want {
			t.Errorf("%d columns: got %q, want %q", width, out.String(), want)
		}
	}
}

func TestASuggestionIsSetInAndWhatWasTypedIsShown(t *testing.T) {
	var errs bytes.Buffer
	if code := Main([]string{"appply"}, nil, &errs, &errs); code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
	if !strings.Contains(errs.String(), "Did you mean this?\n  apply\n") {
		t.Errorf("said %q, want the suggestion in a line of its own", errs.String())
	}
	errs.Reset()
	Main([]string{"a\tb\x1b[2J"}, nil, &errs, &errs)
	if strings.ContainsAny(errs.String(), "\t\x1b") {
		t.Errorf("said %q, want what was typed as escapes", errs.String())
	}
}
