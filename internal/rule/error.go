package rule

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is a mistake in an expression.
type Error struct {
	// Both from 1; columns count characters.
	Line, Column int
	Message      string
}

// Error gives the position and what is wrong.
func (e *Error) Error() string {
	if e.Line > 1 {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
	}
	return fmt.Sprintf("column %d: %s", e.Column, e.Message)
}

// Find makes an Error at the first place where an attribute stands in text.
func Find(text, attribute, format string, args ...any) *Error {
	return at(text, max(strings.Index(text, attribute), 0), format, args...)
}

// at makes an Error from a byte offset in text.
func at(text string, offset int, format string, args ...any) *Error {
	e := &Error{Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)}
	for i, r := range text {
		if i >= offset {
			break
		}
		e.Column++
		if r == '\n' {
			e.Line, e.Column = e.Line+1, 1
		}
	}
	return e
}

// sized refuses text that no expression may be.
func sized(text string) error {
	if len(text) > MaxLength {
		return at(text, 0, "expression has %d bytes, at most %d are allowed", len(text), MaxLength)
	}
	if !utf8.ValidString(text) {
		return at(text, 0, "expression is not UTF-8")
	}
	return nil
}
