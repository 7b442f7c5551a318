package supervise

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

func TestJudge(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	manual := map[string]bool{"spare": true}
	cases := map[string]struct {
		rows []fleet.Status
		want fleet.Stage
	}{
		"all ready":        {[]fleet.Status{{Name: "a", Phase: fleet.Up}, {Name: "b", Phase: fleet.Up}}, fleet.StageReady},
		"one was ready":    {[]fleet.Status{{Name: "a", Phase: fleet.Up}, {Name: "b", Phase: fleet.Unready}}, fleet.StageReady},
		"one is not":       {[]fleet.Status{{Name: "a", Phase: fleet.Up}, {Name: "b", Phase: fleet.Starting}}, fleet.StageStarting},
		"manual one held":  {[]fleet.Status{{Name: "a", Phase: fleet.Up}, {Name: "spare", Phase: fleet.Held}}, fleet.StageReady},
		"fails, but again": {[]fleet.Status{{Name: "a", Phase: fleet.Failing, Failures: tooMany - 1}}, fleet.StageStarting},
		"fails for good":   {[]fleet.Status{{Name: "a", Phase: fleet.Up}, {Name: "b", Failures: tooMany, LastWords: "no shoe"}}, fleet.StageFailed},
		"nothing to run":   {nil, fleet.StageReady},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := judge(fleet.Snapshot{Stage: fleet.StageStarting, Started: began, Processes: c.rows}, manual, began.Add(3*time.Second))
			if got.Stage != c.want {
				t.Errorf("stage %s, want %s", got.Stage, c.want)
			}
			if ready := got.ReadyAfter == 3*time.Second; ready != (c.want == fleet.StageReady) {
				t.Errorf("ready after %v in stage %s", got.ReadyAfter, got.Stage)
			}
			if failed := strings.Contains(got.Failure, "no shoe"); failed != (c.want == fleet.StageFailed) {
				t.Errorf("failure %q in stage %s", got.Failure, got.Stage)
			}
		})
	}
}

func TestOutermost(t *testing.T) {
	got := outermost([]string{"/a/b", "/a/b", "/a/b/c", "/a/bc", "/d"})
	if diff := cmp.Diff([]string{"/a/b", "/a/bc", "/d"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
