package cli

import (
	"strconv"
	"strings"
	"unicode"
)

// visible writes what a terminal would carry out, hide or turn around as escapes: control
// characters, line breaks among them, and the marks of writing direction.
func visible(text string) string {
	if !strings.ContainsFunc(text, invisible) {
		return text
	}
	var b strings.Builder
	for _, c := range text {
		if !invisible(c) {
			b.WriteRune(c)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(c)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func invisible(c rune) bool { return !unicode.IsPrint(c) }

// visibleLines is visible for text that may have more than one line, with tabs before
// what is said in it.
func visibleLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		said := strings.TrimLeft(line, "\t")
		lines[i] = strings.Repeat("  ", len(line)-len(said)) + visible(said)
	}
	return strings.Join(lines, "\n")
}
