// Package accept takes connections from a listener in spite of what passes by
// itself, such as too many open files. In: a listener. Out: one whose errors are
// for good. It never closes the listener by itself.
package accept

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Pauses before another try, and between two tellings of what is wrong.
const (
	firstPause = 5 * time.Millisecond
	maxPause   = 500 * time.Millisecond
	quiet      = time.Minute
)

// passing are errors of accept after which the next one may succeed.
var passing = []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EINTR}

// Listener accepts until ctx ends or the listener below has ended. Not for
// concurrent calls of Accept.
type Listener struct {
	net.Listener
	ctx     context.Context
	trouble func(error)
	told    time.Time
}

// New returns a listener that waits for troubles to pass. They are told to
// trouble, at most once a minute.
func New(ctx context.Context, l net.Listener, trouble func(error)) *Listener {
	return &Listener{Listener: l, ctx: ctx, trouble: trouble}
}

// Accept returns the next connection. An error means that there will be none.
func (l *Listener) Accept() (net.Conn, error) {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		conn, err := l.Listener.Accept()
		if err == nil || !Passes(err) {
			return conn, err
		}
		if now := time.Now(); l.told.IsZero() || now.Sub(l.told) >= quiet {
			l.told = now
			l.trouble(err)
		}
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
			return nil, l.ctx.Err()
		}
	}
}

// Passes says whether the next try may succeed after err.
func Passes(err error) bool {
	return slices.ContainsFunc(passing, func(e unix.Errno) bool { return errors.Is(err, e) })
}
