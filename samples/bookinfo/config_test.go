package bookinfo

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"
)

func TestParseFlags(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string // parts of the error; none: no error
	}{
		{"--service details", nil},
		{"--service ratings --listen 127.0.0.1:9080", nil},
		{"--service reviews --version v3 --ratings http://ratings:9080/", nil},
		{"-service=productpage -details=http://[::1]:9080", nil},
		{"", []string{"--service"}},
		{"--service mixer", []string{`--service "mixer"`}},
		{"--service reviews --version v4", []string{`reviews has no version "v4"`}},
		{"--service details --version v2", []string{`details has no version "v2": want v1`}},
		{"--service details --listen 9080", []string{"--listen"}},
		{"--service details extra", []string{`unexpected argument "extra"`}},
		{"--service details --colour red", []string{"colour"}},
		{"--service details --drain -1s", []string{"--drain"}},
		{"--service x --ratings ftp://r --details http:// --reviews http://r:1/path --max-in-flight 0",
			[]string{`--service "x"`, "--ratings", "--details", "--reviews", "--max-in-flight 0"}},
		{"--service details --reviews http://u:secret@r", []string{"--reviews"}},
	} {
		cfg, err := ParseFlags(strings.Fields(c.args), &bytes.Buffer{})
		if (err != nil) != (len(c.want) > 0) {
			t.Errorf("%q: error %v, want %q", c.args, err, c.want)
		}
		for _, part := range c.want {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%q: error %q does not mention %q", c.args, err, part)
			}
		}
		if err == nil && (cfg.Service == "" || cfg.MaxInFlight != 2048 || cfg.Drain != 6*time.Second) {
			t.Errorf("%q: %+v lacks a default", c.args, cfg)
		}
	}
}

func TestHelpListsEveryFlag(t *testing.T) {
	var out bytes.Buffer
	if _, err := ParseFlags([]string{"--help"}, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("--help: %v, want flag.ErrHelp", err)
	}
	for _, name := range []string{"service", "version", "instance", "listen", "details", "reviews", "ratings", "max-in-flight", "linger", "drain", "verbose"} {
		if !strings.Contains(out.String(), "-"+name) {
			t.Errorf("help does not mention --%s:\n%s", name, &out)
		}
	}
}

func TestMainExitCodes(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"--help", 0, ""},
		{"--service nobody", 2, "bookinfo: --service"},
		{"--service details --listen 256.0.0.1:0", 1, "bookinfo: listen"},
	} {
		var stdout, stderr bytes.Buffer
		if code := Main(ended, strings.Fields(c.args), &stdout, &stderr); code != c.code || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%q: exit %d, %q; want %d, %q", c.args, code, &stderr, c.code, c.stderr)
		}
	}
}
