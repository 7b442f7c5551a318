package front

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// beatInterval is how often something is said while nothing changes.
const beatInterval = 2 * time.Second

// progress tells a person how the fleet comes up: on a terminal by a picture that
// is drawn anew in place, elsewhere by a line for each change. Not safe for
// concurrent use.
type progress struct {
	out      io.Writer
	quiet    bool
	terminal bool
	colour   bool
	welcome  fleet.Welcome
	shown    map[string]fleet.Status
	latest   fleet.Snapshot
	lines    int       // of the picture on the terminal
	spoke    time.Time // when something was last printed
	ready    bool
	warning  string // the fleet's own, as last shown
}

func newProgress(out io.Writer, quiet bool, welcome fleet.Welcome) *progress {
	terminal := isTerminal(out) && os.Getenv("TERM") != "dumb" && !quiet
	return &progress{
		out: out, quiet: quiet, terminal: terminal, colour: terminal && os.Getenv("NO_COLOR") == "",
		welcome: welcome, shown: map[string]fleet.Status{},
	}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// update shows a new snapshot.
func (p *progress) update(s fleet.Snapshot, now time.Time) {
	p.latest = s
	if _, rows := size(p.out); len(s.Processes)+1 >= rows && p.lines == 0 {
		p.terminal = false // the picture would not fit
	}
	if p.terminal && !p.ready && s.Stage == fleet.StageStarting {
		p.draw(now)
	} else {
		p.changes(now)
	}
	if s.Warning != p.warning && s.Warning != "" {
		p.warn(s.Warning)
	}
	p.warning = s.Warning
	if s.Stage == fleet.StageReady && !p.ready {
		p.ready = true
		if p.terminal {
			p.draw(now)
		}
		p.greet()
	}
}

// warn says what is wrong though the fleet goes on.
func (p *progress) warn(text string) {
	p.sayf("warning: %s", text)
	p.lines = 0 // what comes next is not drawn over it
}

// beat gives a sign of life while the fleet starts.
func (p *progress) beat(now time.Time) {
	if p.quiet || p.ready || now.Sub(p.spoke) < beatInterval/2 {
		return
	}
	if p.terminal {
		p.draw(now)
		return
	}
	p.sayf("%s still to come: %s", p.elapsed(now), strings.Join(pending(p.latest.Processes), "; "))
	p.spoke = now
}

// pending lists what is not ready, those together that have the same reason.
func pending(rows []fleet.Status) []string {
	names := map[string][]string{}
	var reasons []string
	for _, row := range rows {
		if row.Phase == fleet.Up || row.Phase == fleet.Held {
			continue
		}
		if names[row.Detail] == nil {
			reasons = append(reasons, row.Detail)
		}
		names[row.Detail] = append(names[row.Detail], row.Name)
	}
	var texts []string
	for _, reason := range reasons {
		text := strings.Join(names[reason], ", ")
		if reason != "" {
			text += " (" + reason + ")"
		}
		texts = append(texts, text)
	}
	return texts
}

func (p *progress) elapsed(now time.Time) string {
	if p.latest.Started.IsZero() {
		return "  0.0s"
	}
	return fmt.Sprintf("%5.1fs", now.Sub(p.latest.Started).Seconds())
}

// changes prints a line for each process whose phase has changed.
func (p *progress) changes(now time.Time) {
	for _, row := range p.latest.Processes {
		before, known := p.shown[row.Name]
		p.shown[row.Name] = row
		if known && before.Phase == row.Phase && before.Restarts == row.Restarts {
			continue
		}
		if p.quiet || !known && row.Phase != fleet.Starting || p.terminal && !p.ready {
			continue
		}
		detail := row.Detail
		if row.Phase == fleet.Starting {
			detail = "" // it is early to say what it lacks
		}
		p.sayf("%s", strings.TrimRight(fmt.Sprintf("%s %-28s %-10s %s", p.elapsed(now), row.Name, row.Phase, detail), " "))
		if row.Phase == fleet.Failing && row.LastWords != "" && row.Failures == 1 {
			p.sayf("        | %s", strings.ReplaceAll(row.LastWords, "\n", "\n        | "))
		}
		p.spoke = now
	}
}

func (p *progress) sayf(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// draw puts the picture over the one before.
func (p *progress) draw(now time.Time) {
	var text strings.Builder
	if p.lines > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", p.lines)
	}
	width, _ := size(p.out)
	for _, row := range p.latest.Processes {
		line := fmt.Sprintf("  %-28s %-10s %6.1fs %s", row.Name, row.Phase, now.Sub(row.Since).Seconds(), row.Detail)
		text.WriteString("\x1b[2K" + p.paint(row.Phase, clip(line, width)) + "\n")
	}
	fmt.Fprintf(&text, "\x1b[2K%s\n", p.elapsed(now))
	p.lines = len(p.latest.Processes) + 1
	fmt.Fprint(p.out, text.String())
	p.spoke = now
}

// size is that of the terminal, in characters.
func size(out io.Writer) (columns, rows int) {
	const usualColumns, usualRows = 80, 50
	file, ok := out.(*os.File)
	if !ok {
		return usualColumns, usualRows
	}
	found, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil || found.Col == 0 || found.Row == 0 {
		return usualColumns, usualRows
	}
	return int(found.Col), int(found.Row)
}

func clip(line string, width int) string {
	runes := []rune(line)
	return string(runes[:min(len(runes), width-1)])
}

func (p *progress) paint(phase fleet.Phase, line string) string {
	colours := map[fleet.Phase]string{fleet.Up: "32", fleet.Starting: "33", fleet.Unready: "33", fleet.Failing: "31"}
	if colour := colours[phase]; p.colour && colour != "" {
		return "\x1b[" + colour + "m" + line + "\x1b[0m"
	}
	return line
}

// greet says that the fleet is ready, what runs where and what to do with it.
// Tests wait for its first line.
func (p *progress) greet() {
	p.sayf("ready in %.1fs", p.latest.ReadyAfter.Seconds())
	if p.quiet {
		return
	}
	p.sayf("")
	table := tabwriter.NewWriter(p.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "PROCESS\tADDRESS\tPID\tLOG")
	for _, row := range p.latest.Processes {
		fmt.Fprintf(table, "%s\t%v\t%d\t%s\n", row.Name, row.Address, row.PID, row.Log)
	}
	_ = table.Flush() // to a terminal, as everything here
	if len(p.latest.Published) > 0 {
		p.published()
	}
	if p.welcome.URL != "" {
		p.sayf("\nopen  %s", p.welcome.URL)
	}
	for i, line := range p.welcome.Try {
		if i == 0 {
			p.sayf("\ntry")
		}
		p.sayf("  %s", line)
	}
	for i, line := range p.welcome.Notes {
		if i == 0 {
			p.sayf("\nnote")
		}
		p.sayf("  %s", line)
	}
	p.sayf("\nCtrl-C stops everything.")
}

func (p *progress) published() {
	var doors []string
	for _, each := range sortedKeys(p.latest.Published) {
		doors = append(doors, each+" "+p.latest.Published[each])
	}
	p.sayf("\non this machine: %s", strings.Join(doors, ", "))
}

// stopping says that the end has begun.
func (p *progress) stopping() {
	if !p.quiet {
		p.sayf("stopping …")
	}
}
