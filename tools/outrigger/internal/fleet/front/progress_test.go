package front

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestPlainProgressSaysEachChangeOnceAndGivesSignsOfLife(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, false, fleet.Welcome{URL: "http://here/", Try: []string{"do this"}})
	snapshot := func(stage fleet.Stage, rows ...fleet.Status) fleet.Snapshot {
		return fleet.Snapshot{Started: began, Stage: stage, Processes: rows, ReadyAfter: 7 * time.Second}
	}
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	waiting := fleet.Status{Name: "b", Phase: fleet.Waiting, Detail: "for a"}
	starting := fleet.Status{Name: "a", Phase: fleet.Starting}
	failing := fleet.Status{Name: "a", Phase: fleet.Failing, Detail: "exit status 1", Restarts: 1, Failures: 1, LastWords: "no\nshoe"}
	up := func(name string) fleet.Status {
		return fleet.Status{Name: name, Phase: fleet.Up, PID: 7, Log: "/log", Restarts: 1}
	}

	p.update(snapshot(fleet.StageStarting, starting, waiting), at(0))
	p.update(snapshot(fleet.StageStarting, starting, waiting), at(1))
	p.update(snapshot(fleet.StageStarting, failing, waiting), at(2))
	p.beat(at(2)) // something was just said
	p.beat(at(4))
	p.update(snapshot(fleet.StageStarting, up("a"), waiting), at(5))
	p.update(snapshot(fleet.StageReady, up("a"), up("b")), at(7))
	p.beat(at(20)) // nobody waits any more

	want := `  0.0s a                            starting
  2.0s a                            restarting exit status 1
        | no
        | shoe
  4.0s still to come: a (exit status 1); b (for a)
  5.0s a                            ready
  7.0s b                            ready
` + `ready in 7.0s

PROCESS  ADDRESS     PID  LOG
a        invalid IP  7    /log
b        invalid IP  7    /log

open  http://here/

try
  do this

Ctrl-C stops everything.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQuietProgressSaysOnlyThatItIsReady(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, true, fleet.Welcome{URL: "http://here/"})
	p.update(fleet.Snapshot{Started: began, Stage: fleet.StageStarting, Processes: []fleet.Status{{Name: "a", Phase: fleet.Starting}}}, began)
	p.beat(began.Add(time.Minute))
	p.update(fleet.Snapshot{Started: began, Stage: fleet.StageReady, ReadyAfter: time.Second}, began)
	p.stopping()
	if got := out.String(); got != "ready in 1.0s\n" {
		t.Errorf("said %q", got)
	}
}

func TestPictureIsDrawnOverTheOneBefore(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, terminal: true, colour: true, shown: map[string]fleet.Status{}}
	s := fleet.Snapshot{Started: began, Stage: fleet.StageStarting, Processes: []fleet.Status{
		{Name: "a", Phase: fleet.Up, Since: began}, {Name: "b", Phase: fleet.Starting, Since: began, Detail: strings.Repeat("long ", 50)},
	}}
	p.update(s, began)
	if text := out.String(); strings.Contains(text, "\x1b[3A") || !strings.Contains(text, "\x1b[32m  a") {
		t.Errorf("first picture is %q, want one in green without a move upwards", text)
	}
	out.Reset()
	p.update(s, began)
	if text := out.String(); !strings.HasPrefix(text, "\x1b[3A") {
		t.Errorf("second picture is %q, want it to begin three lines up", text)
	}
	for line := range strings.Lines(out.String()) {
		if visible := len(line) - strings.Count(line, "\x1b")*5; visible > 90 {
			t.Errorf("line of about %d characters, want none that wraps: %q", visible, line)
		}
	}
}

func TestForbiddenNamespacesAreExplained(t *testing.T) {
	for _, cause := range []error{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EINVAL} {
		if err := startRefusal(cause); !strings.Contains(err.Error(), "make namespaces") || !strings.Contains(err.Error(), "what to do: ") {
			t.Errorf("%v: says %q", cause, err)
		}
	}
	if err := startRefusal(unix.ENOMEM); strings.Contains(err.Error(), "make namespaces") {
		t.Errorf("memory: says %q", err)
	}
}
