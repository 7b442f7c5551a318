package cli

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/front"
)

func newVersion(s streams) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of this command, and of the Envoy that it runs", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			_, err := fmt.Fprint(s.out, versionText(info))
			return err
		},
	}
}

// versionText tells what is known of a build; info may be nil. What was built from a
// working copy has no version, and says so.
func versionText(info *debug.BuildInfo) string {
	version, from, with := "devel", "", ""
	if info != nil {
		if v := info.Main.Version; v != "" && v != "(devel)" && !strings.HasPrefix(v, "v0.0.0-") {
			version = v
		}
		from, with = commit(info), " with "+info.GoVersion
	}
	return fmt.Sprintf("outrigger %s%s, built%s\nEnvoy %s\n", version, from, with, front.EnvoyVersion)
}

// commit is " (commit 0123456789ab, changed since)", or nothing if the build does not know.
func commit(info *debug.BuildInfo) string {
	const enough = 12
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	id := settings["vcs.revision"]
	if id == "" {
		return ""
	}
	text := " (commit " + id[:min(len(id), enough)]
	if settings["vcs.modified"] == "true" {
		text += ", changed since"
	}
	return text + ")"
}
