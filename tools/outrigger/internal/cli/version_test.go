package cli

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	info := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123"}
	for name, c := range map[string]struct {
		info *debug.BuildInfo
		want string
	}{
		"nothing known":  {nil, "outrigger devel, built\n"},
		"working copy":   {info("(devel)"), "outrigger devel, built with go1.26.8\n"},
		"pseudo version": {info("v0.0.0-20261121000000-0123456789ab", revision), "outrigger devel (commit 0123456789ab), built with go1.26.8\n"},
		"changed": {info("", revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}),
			"outrigger devel (commit 0123456789ab, changed since), built with go1.26.8\n"},
		"release": {info("v1.2.3"), "outrigger v1.2.3, built with go1.26.8\n"},
	} {
		if got := versionText(c.info); got != c.want+"Envoy 1.40.0\n" {
			t.Errorf("%s: got %q, want %q and the version of Envoy", name, got, c.want)
		}
	}
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if got := command(args, nil); !strings.HasPrefix(got, "outrigger devel") || !strings.HasSuffix(got, "Envoy 1.40.0\nexit 0\n") {
			t.Errorf("%v: got %q", args, got)
		}
	}
}
