// Package limit bounds how many connections a listener has open at once, so that a flood
// of them costs bounded memory. In: a listener. Out: one on which who only holds
// connections keeps nobody out. It never looks into the bytes.
package limit

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long an eviction may take before the next one, in case whoever serves
// the evicted connection does not notice.
const patience = time.Second

// unheard is how long a connection may be idle by which nobody has said a word: whoever
// wants to keep others out has those for nothing.
const unheard = time.Second

// Listener has at most a number of connections open. Make it with New.
type Listener struct {
	net.Listener
	limit int
	idle  time.Duration
	left  chan struct{} // capacity 1: says "look"
	done  chan struct{} // closed by Close
	close sync.Once

	mu      sync.Mutex
	open    map[*conn]bool // whether it was evicted
	evicted time.Time      // the latest
}

// New bounds l to a number of connections. When there are as many, a new one has the
// connection closed on which nothing was read or written for longest, if that is at
// least idle, or a second where nothing was ever read; else it waits until one ends or
// has been idle for that long. Whoever
// serves a connection must close it when it fails, as servers do.
func New(l net.Listener, connections int, idle time.Duration) *Listener {
	return &Listener{
		Listener: l, limit: connections, idle: idle,
		left: make(chan struct{}, 1), done: make(chan struct{}), open: map[*conn]bool{},
	}
}

// Accept returns the next connection when there is room for it.
func (l *Listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, of: l}
	c.used()
	for {
		wait, ok := l.enter(c, time.Now())
		if ok {
			return c, nil
		}
		select {
		case <-l.left:
		case <-time.After(wait):
		case <-l.done:
			_ = accepted.Close() // it was not served
			return nil, net.ErrClosed
		}
	}
}

// Close closes the listener; connections go on.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// enter takes a place for c, or makes one and says when to look again.
func (l *Listener) enter(c *conn, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) < l.limit {
		l.open[c] = false
		return 0, true
	}
	var quietest *conn
	var overdue time.Duration
	for each, evicted := range l.open {
		if evicted && now.Sub(l.evicted) < patience {
			return patience, false // it is about to leave
		}
		if late := l.overdue(each, now); !evicted && (quietest == nil || late > overdue) {
			quietest, overdue = each, late
		}
	}
	if quietest == nil {
		return patience, false
	}
	if overdue < 0 {
		return min(-overdue, unheard), false // the next one may have less time
	}
	l.open[quietest], l.evicted = true, now
	_ = quietest.Conn.Close() // who serves it is told
	return patience, false
}

// overdue is for how much longer than it may c has been idle.
func (l *Listener) overdue(c *conn, now time.Time) time.Duration {
	idle := now.Sub(time.Unix(0, c.last.Load()))
	if !c.heard.Load() {
		return idle - min(l.idle, unheard)
	}
	return idle - l.idle
}

func (l *Listener) leave(c *conn) {
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	select {
	case l.left <- struct{}{}:
	default:
	}
}

// conn knows when it was last of use, in nanoseconds since 1970.
type conn struct {
	net.Conn
	of   *Listener
	last atomic.Int64
	// heard is whether anything was read.
	heard atomic.Bool
	gone  sync.Once
}

func (c *conn) used() { c.last.Store(time.Now().UnixNano()) }

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(true)
		c.used()
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if n > 0 {
		c.used()
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.gone.Do(func() { c.of.leave(c) })
	return c.Conn.Close()
}
