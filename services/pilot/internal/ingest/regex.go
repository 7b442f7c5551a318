package ingest

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"unicode"
)

// maxProgram is what a regular expression may come to in the regex program of a proxy,
// by our own count, which is never below the proxy's. Proxies refuse programs beyond
// 1000, and with one the whole table of routes that it is in; what is left is for what
// translation puts around an expression.
const maxProgram = 900

// regex checks that proxies take an expression. They match bytes by RE2, so that what
// speaks of characters beyond ASCII would not mean what is written.
func regex(text string) error {
	if i := strings.IndexFunc(text, func(r rune) bool { return r > unicode.MaxASCII }); i >= 0 {
		return fmt.Errorf("%q is beyond ASCII; proxies compare byte by byte", text[i:])
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return fmt.Errorf("no regular expression of RE2: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if bad := unicodeEscape(text); bad != "" {
		return fmt.Errorf("%s: not supported by proxies, which compare byte by byte; write the characters out, like [A-Za-z]", bad)
	}
	if n := 8 + program(re); n > maxProgram {
		return fmt.Errorf("too large: it comes to about %d steps, and proxies take %d", n, maxProgram)
	}
	return nil
}

// unicodeEscape returns the first \p, \P or \x{…} beyond ASCII, "" if there is none. The
// text is known to parse.
func unicodeEscape(text string) string {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		rest := text[i:]
		switch {
		case rest[0] == 'Q':
			_, after, _ := strings.Cut(rest, `\E`)
			i = len(text) - len(after) - 1
		case rest[0] == 'p' || rest[0] == 'P':
			return `\` + rest[:1]
		case rest[0] == 'x' && beyondASCII(rest[1:]):
			return `\x`
		}
	}
	return ""
}

// beyondASCII reads hex digits, two or in braces.
func beyondASCII(digits string) bool {
	if inside, ok := strings.CutPrefix(digits, "{"); ok {
		digits, _, _ = strings.Cut(inside, "}")
		digits = strings.TrimLeft(digits, "0")
		return len(digits) > 2 || len(digits) == 2 && digits[0] > '7'
	}
	return digits != "" && digits[0] > '7'
}

// program bounds the steps of an expression from above: one for a byte and for each
// range of a class, one for each way to go on, two for a group.
func program(re *syntax.Regexp) int {
	const enough = 1 << 20
	n, sum := 1, 0
	for _, sub := range re.Sub {
		sum = min(sum+1+program(sub), enough)
	}
	switch re.Op {
	case syntax.OpLiteral:
		n = 2 * len(re.Rune)
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune) && re.Rune[i] <= unicode.MaxLatin1; i += 2 {
			n++
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		n = 3
	case syntax.OpCapture:
		n = 3
	case syntax.OpRepeat:
		sum = min(sum*max(re.Max, re.Min, 1), enough)
	}
	return min(n+sum, enough)
}
