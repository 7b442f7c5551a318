package decode

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// TooLarge returns the problem of a file of more than MaxBytes, nil if it is not: for
// those who know the size before they read.
func TooLarge(name string, size int64) *pilotv1.Problem {
	if size <= MaxBytes {
		return nil
	}
	return &pilotv1.Problem{File: name, Message: fmt.Sprintf("the file has %s; at most %s are taken: split it", Size(size), Size(MaxBytes))}
}

// TooLong is TooLarge for those who have read more than MaxBytes: it also tells the line
// on which the limit is passed, or that it is no text. size is that of the file, if it is
// known.
func TooLong(name string, content []byte, size int64) *pilotv1.Problem {
	if len(content) <= MaxBytes {
		return nil
	}
	if i := bytes.IndexByte(content[:MaxBytes], 0); i >= 0 {
		at := placeOf(content, i)
		return &pilotv1.Problem{File: name, Line: int32(at.line), Column: int32(at.column), Message: fmt.Sprintf(notText, "a zero byte")}
	}
	p := &pilotv1.Problem{File: name, Line: int32(bytes.Count(content[:MaxBytes], []byte("\n")) + 1)}
	p.Message = fmt.Sprintf("more than %s, which is all that is taken, and passes that on this line: split it before", Size(MaxBytes))
	if size > MaxBytes {
		p.Message = fmt.Sprintf("the file has %s; at most %s are taken, which end on this line: split it before", Size(size), Size(MaxBytes))
	}
	return p
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
