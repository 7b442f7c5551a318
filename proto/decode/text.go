package decode

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// syntaxLine takes the line out of the parser's text.
var syntaxLine = regexp.MustCompile(`^(?:line (\d+): )?((?s).*)$`)

// plausible refuses what is no text before a parser sees it.
func (r *reader) plausible(content []byte) bool {
	if p := TooLarge(r.file, int64(len(content))); p != nil {
		r.problems = append(r.problems, p)
		return false
	}
	bad, what := -1, ""
	if i := bytes.IndexByte(content, 0); i >= 0 {
		bad, what = i, "a zero byte"
	}
	if i := invalidUTF8(content); i >= 0 && (bad < 0 || i < bad) {
		bad, what = i, fmt.Sprintf("the byte 0x%02x, which is not UTF-8", content[i])
	}
	if bad < 0 {
		return true
	}
	before := content[:bad]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	r.report(place{line, column}, "", "not text: found %s; documents are YAML or JSON in UTF-8", what)
	return false
}

// TooLarge returns the problem of a file of more than MaxBytes, nil if it is not: for
// those who know the size before they read.
func TooLarge(name string, size int64) *pilotv1.Problem {
	if size <= MaxBytes {
		return nil
	}
	return &pilotv1.Problem{File: name, Message: fmt.Sprintf("the file has %s; at most %s are taken: split it", Size(size), Size(MaxBytes))}
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		c, n := utf8.DecodeRune(b[i:])
		if c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// Size writes a number of bytes for a person.
func Size(n int64) string {
	switch {
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	case n >= 1<<10:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// syntax reports what the parser said.
func (r *reader) syntax(err error) {
	m := syntaxLine.FindStringSubmatch(strings.TrimPrefix(err.Error(), "yaml: "))
	line, _ := strconv.Atoi(m[1]) // empty: 0, position unknown
	r.label = ""
	r.report(place{line: line}, "", "not YAML or JSON: %s", m[2])
}

// report adds a mistake, up to a limit.
func (r *reader) report(at place, field, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		r.dropped++
		return
	}
	r.problems = append(r.problems, &pilotv1.Problem{
		File: r.file, Line: int32(at.line), Column: int32(at.column),
		Object: r.label, Field: field, Message: fmt.Sprintf(format, args...),
	})
}

// finish returns all mistakes from top to bottom, and says how many more there are.
func (r *reader) finish() []*pilotv1.Problem {
	slices.SortStableFunc(r.problems, func(a, b *pilotv1.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if r.dropped > 0 {
		r.problems = append(r.problems, &pilotv1.Problem{
			File: r.file, Message: fmt.Sprintf("and %d more mistakes in this file", r.dropped),
		})
	}
	return r.problems
}
