package main

import (
	"regexp"
	"strings"
)

// anything stands for any text of a line, and alone on a line for any lines.
const anything = "…"

// matches tells whether the lines that were printed are those that the document shows.
func matches(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if want[0] == anything {
		for i := range len(got) + 1 {
			if matches(want[1:], got[i:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && matchLine(want[0], got[0]) && matches(want[1:], got[1:])
}

func matchLine(want, got string) bool {
	parts := strings.Split(want, anything)
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	ok, err := regexp.MatchString("^"+strings.Join(parts, ".*")+"$", got)
	return ok && err == nil
}

// tight leaves out the spaces that an encoder of JSON puts in or not, as it likes.
var tight = strings.NewReplacer(", ", ",", ": ", ":")

// plain returns lines with each run of spaces as one, and none behind a comma or colon,
// without empty lines.
func plain(lines []string) []string {
	var out []string
	for _, line := range lines {
		if words := strings.Fields(line); len(words) > 0 {
			out = append(out, tight.Replace(strings.Join(words, " ")))
		}
	}
	return out
}
