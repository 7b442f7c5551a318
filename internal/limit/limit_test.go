package limit_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/limit"
)

// pipes is a listener to whose clients dial leads.
type pipes struct {
	net.Listener
	conns chan net.Conn
}

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error { close(p.conns); return nil }

func (p pipes) dial() net.Conn { return p.dialFrom("10.77.1.1:1") }

// dialFrom is a client at an address.
func (p pipes) dialFrom(address string) net.Conn {
	near, far := net.Pipe()
	p.conns <- from{far, address}
	return near
}

// from is a connection from an address.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr { return f }
func (f from) Network() string      { return "tcp" }
func (f from) String() string       { return f.address }

// serve echoes on every connection until the listener ends.
func serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // until it ends
		}()
	}
}

func say(c net.Conn) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// world is a limited listener with a server.
func world(t *testing.T, connections int, idle time.Duration) pipes {
	p := pipes{conns: make(chan net.Conn, 8)} // as a listener's queue
	l := limit.New(p, connections, idle)
	go serve(l)
	t.Cleanup(func() { _ = l.Close() })
	return p
}

func TestTheConnectionOfLeastUseMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := world(t, 3, 0)
		used := p.dial()
		defer used.Close()
		var idle []net.Conn
		for i := range 20 {
			c := p.dial()
			defer c.Close()
			idle = append(idle, c)
			time.Sleep(time.Millisecond)
			if err := errors.Join(say(c), say(used)); err != nil {
				t.Fatalf("new connection and one in use, beside %d idle ones: %v", i, err)
			}
		}
		for i, c := range idle {
			if err, kept := say(c), i >= len(idle)-2; (err == nil) != kept {
				t.Errorf("idle connection %d of %d: %v, want kept: %v", i, len(idle), err, kept)
			}
		}
	})
}

func TestWhoHasMostGetsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := world(t, 1, time.Minute)
		first := p.dial()
		defer first.Close()
		if err := say(first); err != nil {
			t.Fatal(err)
		}
		second := p.dial()
		if err := say(second); err == nil {
			t.Error("a second connection of the address whose first is in use, and there is one place")
		}
		if err := say(first); err != nil {
			t.Errorf("the connection in use: %v", err)
		}
		time.Sleep(time.Minute)
		third := p.dial()
		defer third.Close()
		if err := say(third); err != nil {
			t.Errorf("a connection when the first is idle for a minute: %v", err)
		}
	})
}

func TestOneAddressKeepsNoOtherOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := world(t, 8, time.Minute)
		var busy []net.Conn
		for i := range 20 { // each says something, and so is in use for a minute
			c := p.dialFrom(fmt.Sprint("10.77.1.1:", 1000+i))
			defer c.Close()
			if i < 8 {
				busy = append(busy, c)
			}
			if err := say(c); (err == nil) != (i < 8) {
				t.Errorf("connection %d of one address, and 8 places: %v", i, err)
			}
			time.Sleep(time.Millisecond)
		}
		var others []net.Conn
		for i := range 4 {
			c := p.dialFrom(fmt.Sprintf("10.77.1.%d:1", 2+i))
			defer c.Close()
			others = append(others, c)
			if err := say(c); err != nil {
				t.Errorf("a connection of another address: %v", err)
			}
		}
		for i, c := range busy {
			if err, kept := say(c), i >= 4; (err == nil) != kept {
				t.Errorf("connection %d of the address with the most: %v, want kept: %v", i, err, kept)
			}
		}
		for _, c := range others {
			if err := say(c); err != nil {
				t.Errorf("a connection of another address, later: %v", err)
			}
		}
	})
}

func TestWhoSaysNothingKeepsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := world(t, 3, time.Minute)
		used := p.dial()
		defer used.Close()
		if err := say(used); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			defer p.dial().Close()
		}
		synctest.Wait()
		begun := time.Now()
		last := p.dial()
		defer last.Close()
		if err := say(last); err != nil || time.Since(begun) > 0 {
			t.Errorf("after eight that say nothing, in two places: %v after %v, want one of them to give way", err, time.Since(begun))
		}
		if err := say(used); err != nil {
			t.Errorf("the connection in use: %v", err)
		}
	})
}

func TestTheEndOfTheListenerEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipes{conns: make(chan net.Conn, 8)}
		l := limit.New(p, 1, time.Hour)
		first, second := p.dial(), p.dial()
		defer first.Close()
		held, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		done := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			done <- err
		}()
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v, want %v", err, net.ErrClosed)
		}
		if _, err := second.Read(make([]byte, 1)); err == nil {
			t.Error("the connection that waited is open")
		}
	})
}
