// Package run owns the life of a process: what starts, what stops it, in which order
// it ends, and with which exit code. In: named functions. Out: the first error. It
// never logs.
package run

import (
	"context"
	"errors"
	"fmt"
)

// Group runs parts side by side. The first to return stops the rest, last added
// first, each having left before the one before it is told; so what others need is
// added first. The zero Group is ready to use; Add is not safe for concurrent use.
type Group struct {
	parts []part
}

type part struct {
	name string
	run  func(context.Context) error
}

// Add registers a part. run must return soon after its context ends, and leave
// nothing running.
func (g *Group) Add(name string, run func(context.Context) error) {
	g.parts = append(g.parts, part{name, run})
}

// Run starts every part and returns when all have left. The error is that of the
// part that ended first, nil when ctx ended and all parts left without complaint.
func (g *Group) Run(ctx context.Context) error {
	type exit struct {
		i   int
		err error
	}
	exits := make(chan exit, len(g.parts)) // one per part: no part ever blocks on leaving
	cancels := make([]context.CancelFunc, len(g.parts))
	left := make([]chan struct{}, len(g.parts))
	base := context.WithoutCancel(ctx)
	for i, p := range g.parts {
		pctx, cancel := context.WithCancel(base)
		cancels[i], left[i] = cancel, make(chan struct{})
		go func() {
			err := p.run(pctx)
			close(left[i])
			exits <- exit{i, err}
		}()
	}
	var first error
	seen := 0
	select {
	case <-ctx.Done():
	case e := <-exits:
		seen++
		first = g.ended(e.i, e.err)
	}
	for i := len(g.parts) - 1; i >= 0; i-- {
		cancels[i]()
		<-left[i]
	}
	for ; seen < len(g.parts); seen++ {
		e := <-exits
		if first == nil && e.err != nil && !errors.Is(e.err, context.Canceled) {
			first = fmt.Errorf("%s: %w", g.parts[e.i].name, e.err)
		}
	}
	return first
}

// ended turns the first return into an error: a part that leaves by itself is one.
func (g *Group) ended(i int, err error) error {
	if err == nil {
		return fmt.Errorf("%s: ended by itself", g.parts[i].name)
	}
	return fmt.Errorf("%s: %w", g.parts[i].name, err)
}
