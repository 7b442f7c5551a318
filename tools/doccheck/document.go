package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// document is what of a document can be checked.
type document struct {
	name     string // below the repository
	steps    []step
	mentions []mention
	headings map[string]bool // as GitHub names them in links
}

// step is one command and what is to come of it.
type step struct {
	line    int
	command string
	want    []string // lines; nil is anything
	exit    int
	within  time.Duration
}

// mention is the name of a file, or a link.
type mention struct {
	line int
	text string
	link bool
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	linkTo   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	notName  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	// remark is what a command may say at its end.
	remark = regexp.MustCompile(`\s#\s*(?:exit (\d+))?(?:,\s*)?(?:within (\w+))?\s*$`)
)

const fence = "```"

// parse reads a document. Errors: blocks that are not closed or not in the form that the
// package comment tells.
func parse(name, text string) (document, error) {
	d := document{name: name, headings: map[string]bool{}}
	var problems []error
	block, opened := "", 0 // kind of the block that is open, and its line
	for i, line := range strings.Split(text, "\n") {
		number := i + 1
		kind, isFence := strings.CutPrefix(line, fence)
		switch {
		case isFence && opened == 0:
			block, opened = kind, number
		case isFence:
			block, opened = "", 0
		case block == "console":
			problems = append(problems, d.show(number, line))
		case opened == 0:
			d.prose(number, line)
		}
	}
	if opened != 0 {
		problems = append(problems, fmt.Errorf("%s:%d: the block is not closed", name, opened))
	}
	return d, errors.Join(problems...)
}

// show takes a line of a console block.
func (d *document) show(number int, line string) error {
	if command, ok := strings.CutPrefix(line, "$ "); ok {
		s := step{line: number, command: command}
		var err error
		if s.exit, s.within, err = remarks(command); err != nil {
			return fmt.Errorf("%s:%d: %w", d.name, number, err)
		}
		d.steps = append(d.steps, s)
		return nil
	}
	if len(d.steps) == 0 {
		return fmt.Errorf("%s:%d: output before the first command", d.name, number)
	}
	last := &d.steps[len(d.steps)-1]
	if more, ok := strings.CutPrefix(line, "> "); ok && last.want == nil {
		last.command += "\n" + more
		var err error
		if last.exit, last.within, err = remarks(more); err != nil {
			return fmt.Errorf("%s:%d: %w", d.name, number, err)
		}
		return nil
	}
	if strings.TrimSpace(line) != "" {
		last.want = append(last.want, line)
	}
	return nil
}

// remarks reads the end of a command.
func remarks(command string) (exit int, within time.Duration, err error) {
	found := remark.FindStringSubmatch(command)
	if found == nil {
		return 0, 0, nil
	}
	if found[1] != "" {
		if exit, err = strconv.Atoi(found[1]); err != nil {
			return 0, 0, fmt.Errorf("exit code: %w", err)
		}
	}
	if found[2] != "" {
		if within, err = time.ParseDuration(found[2]); err != nil {
			return 0, 0, fmt.Errorf("time: %w", err)
		}
	}
	return exit, within, nil
}

// prose takes a line outside of blocks.
func (d *document) prose(number int, line string) {
	if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
		d.headings[anchor(title)] = true
	}
	for _, found := range codeSpan.FindAllStringSubmatch(line, -1) {
		d.mentions = append(d.mentions, mention{line: number, text: found[1]})
	}
	for _, found := range linkTo.FindAllStringSubmatch(line, -1) {
		d.mentions = append(d.mentions, mention{line: number, text: found[1], link: true})
	}
}

// anchor is the name of a heading in links.
func anchor(title string) string {
	plain := notName.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
	return strings.ReplaceAll(plain, " ", "-")
}
