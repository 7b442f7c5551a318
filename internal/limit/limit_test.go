package limit_test

import (
	"errors"
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

func (p pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

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

func TestOneInUseIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := world(t, 1, time.Minute)
		first := p.dial()
		if err := say(first); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		second := p.dial()
		if err := say(second); err != nil || time.Since(begun) < time.Minute {
			t.Errorf("second connection: %v after %v, want none before the first was idle for a minute", err, time.Since(begun))
		}
		if err := say(first); err == nil {
			t.Error("the first connection is still open")
		}
		begun = time.Now()
		third := p.dial()
		defer third.Close()
		go func() {
			time.Sleep(time.Second)
			second.Close()
		}()
		if err := say(third); err != nil || time.Since(begun) != time.Second {
			t.Errorf("third connection: %v after %v, want it at the end of the second", err, time.Since(begun))
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
		if err := say(last); err != nil || time.Since(begun) > 5*time.Second {
			t.Errorf("after eight that say nothing, in two places: %v after %v, want a second for each pair", err, time.Since(begun))
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
