package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// result is what became of a group.
type result struct {
	name   string
	state  state
	took   time.Duration
	reason string // why it failed or did not run
}

// state is one of the three ends of a group.
type state string

const (
	passed state = "passed"
	failed state = "FAILED"
	notRun state = "not run"
)

// report prints the table and the closing line, and returns the exit code.
func report(out io.Writer, results []result, ci bool) int {
	count := map[state]int{}
	var total time.Duration
	fmt.Fprintf(out, "\n%-16s %-8s %8s\n", "group", "result", "seconds")
	for _, r := range results {
		count[r.state]++
		total += r.took
		fmt.Fprintf(out, "%-16s %-8s %8.1f", r.name, r.state, r.took.Seconds())
		if r.reason != "" {
			fmt.Fprintf(out, "  %s", cut(r.reason))
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%-16s %-8s %8.1f\n", "total", "", total.Seconds())
	fmt.Fprintf(out, "groups: %d passed, %d failed, %d not run\n", count[passed], count[failed], count[notRun])
	switch {
	case count[failed] > 0:
		return exitFailed
	case count[notRun] > 0 && ci:
		fmt.Fprintln(out, "CI=true: a group that could not run is a failure")
		return exitFailed
	case count[notRun] > 0:
		return exitNotRun
	}
	return exitPassed
}

// cut shortens a reason to what fits beside the table; the whole stands with the group.
func cut(reason string) string {
	const most = 160
	text := []rune(strings.ReplaceAll(reason, "\n", " "))
	if len(text) > most {
		return string(text[:most-1]) + "…"
	}
	return string(text)
}
