package forward

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// For how long nothing has moved on a connection that gives way to a new one; for how
// long one has had no answer, however slowly it goes on asking; and for how long one was
// never used at all: those are worth less, and come in floods.
const (
	minIdle       = 5 * time.Second
	minUnanswered = time.Second
	minUnused     = 500 * time.Millisecond
)

// seats are the places of a door.
type seats struct {
	limit int
	left  chan struct{} // capacity 1: says "look"

	mu   sync.Mutex
	open map[*connection]bool // whether it was told to end
}

func newSeats(limit int) *seats {
	return &seats{limit: max(limit, 1), left: make(chan struct{}, 1), open: map[*connection]bool{}}
}

// take waits for a place and says whether there was one before ctx ended. One
// goroutine may call it.
func (s *seats) take(ctx context.Context, c *connection) bool {
	for {
		wait, ok := s.try(c, time.Now())
		if ok {
			return true
		}
		select {
		case <-s.left:
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
}

// try takes a place if one is free. If none is, it ends the connection that has been
// idle for longest beyond what it may, if there is one, and says when to try again.
func (s *seats) try(c *connection, now time.Time) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) < s.limit {
		s.open[c] = false
		return 0, true
	}
	var quietest *connection
	var overdue time.Duration
	for each, ending := range s.open {
		if ending {
			return minIdle, false // leave says when
		}
		if late := each.overdue(now); quietest == nil || late > overdue {
			quietest, overdue = each, late
		}
	}
	if overdue < 0 {
		return min(-overdue, minUnused), false // the next one may have less time
	}
	s.open[quietest] = true
	quietest.end()
	return minIdle, false
}

// leave gives a place back.
func (s *seats) leave(c *connection) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	select {
	case s.left <- struct{}{}:
	default:
	}
}

// overdue is for how much longer than it may nothing has moved, or nothing was answered.
// The kernel keeps count at the side that is TCP, so that bytes need not pass through
// here to be seen; where neither is, a connection counts as idle since it was opened.
func (c *connection) overdue(now time.Time) time.Duration {
	c.mu.Lock()
	far := c.far
	c.mu.Unlock()
	since := now.Sub(c.opened)
	var seen traffic
	if tcp, ok := c.near.(*net.TCPConn); ok {
		seen = activity(tcp)
	} else if tcp, ok := far.(*net.TCPConn); ok {
		seen = activity(tcp)
		seen.in, seen.out = seen.out, seen.in
	} else {
		return since - minIdle
	}
	switch {
	case !seen.in && !seen.out:
		return since - minUnused
	case !seen.out:
		return since - minUnanswered
	}
	return min(since, seen.quiet) - minIdle
}

// traffic is what the kernel knows of a connection.
type traffic struct {
	quiet   time.Duration // since data went either way
	in, out bool          // whether data ever did
}

// activity is much quiet and no data when the kernel cannot say because the connection
// is closed.
func activity(conn *net.TCPConn) traffic {
	seen := traffic{quiet: time.Hour}
	raw, err := conn.SyscallConn()
	if err != nil {
		return seen
	}
	_ = raw.Control(func(fd uintptr) { // not called when it is closed
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			seen.quiet = time.Duration(min(info.Last_data_sent, info.Last_data_recv)) * time.Millisecond
			seen.in, seen.out = info.Bytes_received > 0, info.Bytes_sent > 0
		}
	})
	return seen
}
