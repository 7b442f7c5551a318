// Package fault is the closed list of error kinds that a remote caller may tell
// apart. In: an error and a kind. Out: an error that still wraps the first. It never
// decides what to do about an error; package rpc maps kinds to gRPC codes.
package fault

import (
	"errors"
	"fmt"
)

// Kind is what a caller in another process can act on. The zero Kind is an internal
// error: the caller can only report it.
type Kind uint8

// The kinds, each with what the caller should do.
const (
	// Internal is our own mistake.
	Internal Kind = iota
	// Invalid means that the input must change before a retry.
	Invalid
	// Unauthenticated means that no proof of identity was accepted.
	Unauthenticated
	// Denied means that the identity is known and may not do this.
	Denied
	// NotFound means that the named thing does not exist.
	NotFound
	// Conflict means that the world moved on: read again, then retry.
	Conflict
	// Exhausted means that a limit was reached.
	Exhausted
	// Unavailable means that a retry may work without a change.
	Unavailable
	// Precondition means that something else must be done first.
	Precondition
)

// String returns the kind's lower-case name.
func (k Kind) String() string {
	return [...]string{"internal", "invalid", "unauthenticated", "denied", "not found",
		"conflict", "exhausted", "unavailable", "precondition"}[k]
}

type tagged struct {
	kind Kind
	err  error
}

func (t *tagged) Error() string { return t.err.Error() }
func (t *tagged) Unwrap() error { return t.err }

// Errorf is fmt.Errorf with the kind attached.
func (k Kind) Errorf(format string, args ...any) error {
	return &tagged{kind: k, err: fmt.Errorf(format, args...)}
}

// Wrap attaches the kind to err and says what was being done. Wrapping nil gives nil.
func (k Kind) Wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return &tagged{kind: k, err: fmt.Errorf("%s: %w", doing, err)}
}

// Of returns the outermost kind attached to err, Internal if there is none.
func Of(err error) Kind {
	var t *tagged
	if errors.As(err, &t) {
		return t.kind
	}
	return Internal
}
