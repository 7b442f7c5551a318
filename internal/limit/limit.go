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
	open    map[*conn]bool    // whether it was evicted
	leaving int               // how many of them were
	evicted time.Time         // when the latest was
	places  map[string]*place // by address, of those that were not
	calm    time.Time         // before then nobody is overdue
}

// place is what an address has.
type place struct {
	open   int // connections
	silent int // those by which nobody has said a word
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
		left: make(chan struct{}, 1), done: make(chan struct{}), open: map[*conn]bool{}, places: map[string]*place{},
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

// enter takes a place for c, or makes one. Who is refused comes back at once: that must
// not take a look at every connection.
func (l *Listener) enter(c *conn, now time.Time) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) < l.limit {
		l.add(c)
		return entered
	}
	if l.leaving > 0 && now.Sub(l.evicted) < patience {
		return awaits // it is about to leave
	}
	out := l.mostOverdue(now)
	if out == nil {
		out = l.inFavour(c, now)
	}
	if out == nil {
		return refused
	}
	l.remove(out)
	l.open[out], l.evicted = true, now
	l.leaving++
	_ = out.Conn.Close() // who serves it is told
	return awaits
}

func (l *Listener) add(c *conn) {
	l.open[c] = false
	at := l.places[c.from]
	if at == nil {
		at = &place{}
		l.places[c.from] = at
	}
	at.open++
	if !c.heard.Load() {
		at.silent++
	}
	if soon := time.Unix(0, c.last.Load()).Add(min(l.idle, unheard)); soon.Before(l.calm) {
		l.calm = soon
	}
}

// remove takes a connection that was not evicted off its address's count.
func (l *Listener) remove(c *conn) {
	at := l.places[c.from]
	at.open--
	if !c.heard.Load() {
		at.silent--
	}
	if at.open == 0 {
		delete(l.places, c.from)
	}
}

// mostOverdue finds the connection that is overdue for longest, nil if none is. Use only
// puts off when one will be.
func (l *Listener) mostOverdue(now time.Time) *conn {
	if now.Before(l.calm) {
		return nil
	}
	out := l.leastUsed(now, func(*conn) bool { return true })
	if out == nil {
		return nil
	}
	if late := l.overdue(out, now); late < 0 {
		l.calm = now.Add(-late)
		return nil
	}
	return out
}

// inFavour finds the connection in use that gives way to c, nil if none does: one of the
// address with the most; of c's own address, if that is it, one that has not said a word.
func (l *Listener) inFavour(c *conn, now time.Time) *conn {
	var own place
	if at := l.places[c.from]; at != nil {
		own = *at
	}
	most, n := l.mostUsed()
	switch {
	case n > own.open+1:
		return l.leastUsed(now, func(each *conn) bool { return each.from == most })
	case own.silent > 0:
		return l.leastUsed(now, func(each *conn) bool { return each.from == c.from && !each.heard.Load() })
	}
	return nil
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

// mostUsed is the address with the most connections, and how many these are.
func (l *Listener) mostUsed() (most string, n int) {
	for from, at := range l.places {
		if at.open > n {
			most, n = from, at.open
		}
	}
	return most, n
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
	if evicted, there := l.open[c]; evicted {
		l.leaving--
	} else if there {
		l.remove(c)
	}
	delete(l.open, c)
	l.mu.Unlock()
	select {
	case l.left <- struct{}{}:
	default:
	}
}

// hears notes that somebody said a word by c.
func (l *Listener) hears(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if evicted, there := l.open[c]; there && !evicted && !c.heard.Load() {
		l.places[c.from].silent--
	}
	c.heard.Store(true)
}

// conn knows when it was last of use, in nanoseconds since 1970.
type conn struct {
	net.Conn
	of   *Listener
	from string // its address
	last atomic.Int64
	// heard is whether anything was read; it is set with the Listener's lock.
	heard atomic.Bool
	gone  sync.Once
}

func (c *conn) used() { c.last.Store(time.Now().UnixNano()) }

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.used()
		if !c.heard.Load() {
			c.of.hears(c)
		}
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
