package decode

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// syntaxLine takes the line out of the parser's text.
	syntaxLine = regexp.MustCompile(`^(?:line (\d+): )?((?s).*)$`)
	// anchorName is in what the parser says of anchors, without a line.
	anchorName = regexp.MustCompile(`anchor '(.+?)'`)
)

// placeOf is the place of a byte.
func placeOf(content []byte, offset int) place {
	before := content[:min(offset, len(content))]
	return place{
		line:   bytes.Count(before, []byte("\n")) + 1,
		column: utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1,
	}
}

// notText says what was found.
const notText = "not text: found %s; documents are YAML or JSON in UTF-8"

// plausible refuses what is no text before a parser sees it.
func (r *reader) plausible(content []byte) bool {
	if p := TooLong(r.file, content, int64(len(content))); p != nil {
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
		if bad = bytes.IndexFunc(content, isControl); bad < 0 {
			return true
		}
		c, _ := utf8.DecodeRune(content[bad:])
		what = fmt.Sprintf("the control character %U", c)
	}
	r.report(placeOf(content, bad), "", notText, what)
	return false
}

// isControl finds what neither YAML nor a terminal takes for text.
func isControl(c rune) bool {
	const nextLine = '\u0085' // a line break of YAML
	return unicode.IsControl(c) && c != '\t' && c != '\n' && c != '\r' && c != nextLine
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

// syntax reports why content cannot be parsed: in the words of the JSON parser, if
// content was meant for that, and else of the YAML parser.
func (r *reader) syntax(err error, content []byte, wrong *jsonError) {
	r.label = ""
	if wrong != nil && wrong.meant {
		r.report(wrong.place, "", "not JSON: %v", wrong.err)
		return
	}
	m := syntaxLine.FindStringSubmatch(strings.TrimPrefix(err.Error(), "yaml: "))
	at := yamlPlace(m[1], m[2], content)
	if strings.HasPrefix(m[2], "exceeded max depth") {
		r.report(at, "", "nested more than %d levels deep", maxDepth)
		return
	}
	r.report(at, "", "not YAML or JSON: %s", m[2])
}

// yamlPlace makes a place of what the YAML parser says: it counts lines from 0 in some of
// its messages, names none on the first line, and none with anchors.
func yamlPlace(line, message string, content []byte) place {
	if m := anchorName.FindStringSubmatch(message); m != nil && line == "" {
		return placeOf(content, max(bytes.Index(content, []byte("*"+m[1])), 0))
	}
	n, err := strconv.Atoi(line)
	if err != nil || strings.HasPrefix(message, "did not find expected") {
		n++
	}
	last := bytes.Count(bytes.TrimRight(content, "\n"), []byte("\n")) + 1
	return place{line: min(n, last)}
}
