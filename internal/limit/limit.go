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

// New bounds l to a number of connections. When there are as many, a new one has another
// closed: the one on which nothing was read or written for longest, if that is at least
// idle, or a second where nothing was ever read; else the least used of the address that
// has the most, if that has more than the new one's address would; else one of the new
// one's address on which nothing was ever read. If there is none, the new one is closed:
// nobody gets more than others by asking for more. Whoever serves a connection must close
// it when it fails, as servers do.
func New(l net.Listener, connections int, idle time.Duration) *Listener {
	return &Listener{
		Listener: l, limit: connections, idle: idle,
		left: make(chan struct{}, 1), done: make(chan struct{}), open: map[*conn]bool{},
	}
}

// Accept returns the next connection when there is room for it.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.accept()
		if c != nil || err != nil {
			return c, err
		}
	}
}

// accept returns the next connection, nil if there was no room for it.
func (l *Listener) accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, of: l, from: addressOf(accepted)}
	c.used()
	for {
		switch l.enter(c, time.Now()) {
		case entered:
			return c, nil
		case refused:
			_ = accepted.Close() // it was not served
			return nil, nil
		}
		select {
		case <-l.left:
		case <-time.After(patience):
		case <-l.done:
			_ = accepted.Close() // it was not served
			return nil, net.ErrClosed
		}
	}
}

// addressOf is where a connection comes from, without the port.
func addressOf(c net.Conn) string {
	text := c.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(text); err == nil {
		return host
	}
	return text
}

// outcome is what became of a new connection.
type outcome int

const (
	entered outcome = iota
	refused         // others have no more than its address would
	awaits          // another was told to leave
)

// Close closes the listener; connections go on.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// enter takes a place for c, or makes one.
func (l *Listener) enter(c *conn, now time.Time) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) < l.limit {
		l.open[c] = false
		return entered
	}
	places := map[string]int{}
	for each, evicted := range l.open {
		if evicted && now.Sub(l.evicted) < patience {
			return awaits // it is about to leave
		}
		if !evicted {
			places[each.from]++
		}
	}
	out := l.leastUsed(now, func(*conn) bool { return true })
	if out != nil && l.overdue(out, now) < 0 {
		if out = l.inFavour(c, places, now); out == nil {
			return refused
		}
	}
	if out != nil {
		l.open[out], l.evicted = true, now
		_ = out.Conn.Close() // who serves it is told
	}
	return awaits
}

// inFavour finds the connection in use that gives way to c, nil if none does: one of the
// address with the most; of c's own address, if that is it, one that has not said a word.
func (l *Listener) inFavour(c *conn, places map[string]int, now time.Time) *conn {
	most := mostUsed(places)
	if places[most] > places[c.from]+1 {
		return l.leastUsed(now, func(each *conn) bool { return each.from == most })
	}
	return l.leastUsed(now, func(each *conn) bool { return each.from == c.from && !each.heard.Load() })
}

// leastUsed finds among some of the connections the one that is overdue for longest.
func (l *Listener) leastUsed(now time.Time, among func(*conn) bool) *conn {
	var found *conn
	var overdue time.Duration
	for each, evicted := range l.open {
		if evicted || !among(each) {
			continue
		}
		if late := l.overdue(each, now); found == nil || late > overdue {
			found, overdue = each, late
		}
	}
	return found
}

// mostUsed is the address with the most places.
func mostUsed(places map[string]int) string {
	var most string
	for from, n := range places {
		if n > places[most] {
			most = from
		}
	}
	return most
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
	from string // its address
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
