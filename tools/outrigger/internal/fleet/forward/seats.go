package forward

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// minIdle is for how long nothing has moved on a connection that gives way to a
// new one.
const minIdle = 5 * time.Second

// seats are the places of a door.
type seats struct {
	limit int
	idle  time.Duration
	left  chan struct{} // capacity 1: says "look"

	mu   sync.Mutex
	open map[*connection]bool // whether it was told to end
}

func newSeats(limit int, idle time.Duration) *seats {
	return &seats{limit: max(limit, 1), idle: idle, left: make(chan struct{}, 1), open: map[*connection]bool{}}
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

// try takes a place if one is free. If none is, it ends the connection that is idle
// for longest, if it is idle enough, and says when to try again.
func (s *seats) try(c *connection, now time.Time) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) < s.limit {
		s.open[c] = false
		return 0, true
	}
	var quietest *connection
	var longest time.Duration
	for each, ending := range s.open {
		if ending {
			return s.idle, false // leave says when
		}
		if idle := each.idle(now); quietest == nil || idle > longest {
			quietest, longest = each, idle
		}
	}
	if longest < s.idle {
		return s.idle - longest, false
	}
	s.open[quietest] = true
	quietest.end()
	return s.idle, false
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

// idle is for how long nothing has moved, either way. The kernel keeps count at the
// side that is TCP, so that bytes need not pass through here to be seen; where
// neither is, a connection counts as idle since it was opened.
func (c *connection) idle(now time.Time) time.Duration {
	c.mu.Lock()
	far := c.far
	c.mu.Unlock()
	since := now.Sub(c.opened)
	for _, side := range []net.Conn{c.near, far} {
		if tcp, ok := side.(*net.TCPConn); ok {
			return min(since, quietFor(tcp))
		}
	}
	return since
}

// quietFor is how long ago the kernel sent or received data; much, when it cannot
// say because the connection is closed.
func quietFor(conn *net.TCPConn) time.Duration {
	const closed = time.Hour
	raw, err := conn.SyscallConn()
	if err != nil {
		return closed
	}
	quiet := closed
	err = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			quiet = time.Duration(min(info.Last_data_sent, info.Last_data_recv)) * time.Millisecond
		}
	})
	if err != nil {
		return closed
	}
	return quiet
}
