package fault

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestOf(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want Kind
	}{
		"nil":       {nil, Internal},
		"plain":     {io.EOF, Internal},
		"direct":    {NotFound.Errorf("rule %q", "a"), NotFound},
		"wrapped":   {fmt.Errorf("apply: %w", Conflict.Errorf("old revision")), Conflict},
		"outermost": {Denied.Wrap(Invalid.Errorf("x"), "sign"), Denied},
	} {
		if got := Of(c.err); got != c.want {
			t.Errorf("%s: Of(%v) = %v, want %v", name, c.err, got, c.want)
		}
	}
}

func TestWrapKeepsTheCause(t *testing.T) {
	err := Unavailable.Wrap(io.ErrUnexpectedEOF, "read bundle")
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v does not wrap the cause", err)
	}
	if got, want := err.Error(), "read bundle: unexpected EOF"; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
	if Invalid.Wrap(nil, "x") != nil {
		t.Error("wrapping nil gave an error")
	}
}
