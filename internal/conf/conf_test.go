package conf

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type listen struct {
	GRPC string `yaml:"grpc" help:"gRPC address"`
}

type config struct {
	Listen listen            `yaml:"listen"`
	Quiet  time.Duration     `yaml:"quiet" help:"quiet period"`
	Admins []string          `yaml:"admins" help:"who may"`
	Debug  bool              `yaml:"debug" help:"more words"`
	Labels map[string]string `yaml:"labels" help:"labels"`
	Hosts  []listen          `yaml:"hosts"`
}

func load(t *testing.T, file string, args ...string) (config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config", path}, args...)
	}
	return Load("x", "x does x.", args, config{Quiet: time.Second, Admins: []string{"root"}})
}

func TestLoad(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		args []string
		want config
	}{
		"defaults": {want: config{Quiet: time.Second, Admins: []string{"root"}}},
		"file": {file: "listen: {grpc: 'a:1'}\nquiet: 2s\nhosts: [{grpc: b}]\n",
			want: config{Listen: listen{"a:1"}, Quiet: 2 * time.Second, Admins: []string{"root"}, Hosts: []listen{{"b"}}}},
		"flags win": {file: "listen: {grpc: 'a:1'}\nadmins: [x]\n", args: []string{"--listen.grpc=b:2", "--admins", "y,z", "--debug", "--labels=a=b"},
			want: config{Listen: listen{"b:2"}, Quiet: time.Second, Admins: []string{"y", "z"}, Debug: true, Labels: map[string]string{"a": "b"}}},
		"empty file": {file: "# nothing\n", want: config{Quiet: time.Second, Admins: []string{"root"}}},
	} {
		got, err := load(t, c.file, c.args...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

func TestMistakesAreReportedTogetherWithTheirLine(t *testing.T) {
	_, err := load(t, "listen:\n  grcp: a\nquiet: soon\n", "--debug=perhaps")
	var usage *UsageError
	if !errors.As(err, &usage) || usage.ExitCode() != 2 {
		t.Fatalf("got %v, want a UsageError", err)
	}
	want := []string{`c.yaml:2: unknown key "grcp"`, "c.yaml:3: cannot unmarshal !!str `soon` into time.Duration", `--debug: "perhaps": want true or false`}
	if len(usage.problems) != len(want) {
		t.Fatalf("got %q, want %d problems", usage.problems, len(want))
	}
	for i, w := range want {
		got := usage.problems[i]
		if filepath.Base(got) != w && got != w {
			t.Errorf("problem %d: got %q, want it to end in %q", i, got, w)
		}
	}
}

func TestUnknownFlag(t *testing.T) {
	if _, err := load(t, "", "--nope"); err == nil {
		t.Error("no error")
	}
}
