package forward_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/forward"
)

// run runs a door until the test ends.
func run(t *testing.T, d forward.Door) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// echo serves what is said back.
func echo(t *testing.T) (address string) {
	t.Helper()
	server := listen(t, "tcp", "127.0.0.1:0")
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // until either end
			}()
		}
	}()
	return server.Addr().String()
}

func dial(t *testing.T, address net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func say(conn net.Conn) error {
	if _, err := io.WriteString(conn, "x"); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

// flawed is a listener whose first accepts fail.
type flawed struct {
	net.Listener
	errs chan error
}

func (f flawed) Accept() (net.Conn, error) {
	select {
	case err := <-f.errs:
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	default:
		return f.Listener.Accept()
	}
}

func TestADoorOutlivesTooManyOpenFiles(t *testing.T) {
	front := flawed{listen(t, "tcp", "127.0.0.1:0"), make(chan error, 3)}
	for range cap(front.errs) {
		front.errs <- unix.EMFILE
	}
	told := make(chan error, 8)
	d := door(t, front, forward.To("tcp", echo(t)))
	d.Trouble = func(err error) { told <- err }
	run(t, d)
	if err := say(dial(t, front.Addr())); err != nil {
		t.Errorf("connection after EMFILE: %v", err)
	}
	if err := <-told; !errors.Is(err, unix.EMFILE) {
		t.Errorf("told %v, want %v", err, unix.EMFILE)
	}
}

func TestABrokenListenerIsToldAndOpenedAgain(t *testing.T) {
	broken := flawed{listen(t, "tcp", "127.0.0.1:0"), make(chan error, 1)}
	broken.errs <- unix.EINVAL
	told := make(chan error, 8)
	d := door(t, broken, forward.To("tcp", echo(t)))
	d.Trouble = func(err error) { told <- err }
	again := make(chan net.Addr, 1)
	refusals := 1
	d.Open = func() (net.Listener, error) {
		if refusals--; refusals == 0 {
			return nil, unix.EADDRINUSE
		}
		l, err := net.Listen("tcp", broken.Addr().String())
		if err == nil {
			again <- l.Addr()
		}
		return l, err
	}
	run(t, d)
	if err := say(dial(t, <-again)); err != nil {
		t.Errorf("connection to the second listener: %v", err)
	}
	for _, want := range []error{unix.EINVAL, unix.EADDRINUSE} {
		if err := <-told; !errors.Is(err, want) {
			t.Errorf("told %v, want %v", err, want)
		}
	}
}

// bothWays tries both ways in which doors are used: the side that the kernel keeps count
// of is the near one, or the far one.
func bothWays(t *testing.T, try func(t *testing.T, front net.Listener)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address := "127.0.0.1:0"
			if network == "unix" {
				address = t.TempDir() + "/s"
			}
			try(t, listen(t, network, address))
		})
	}
}

func TestIdleConnectionsMakeRoom(t *testing.T) {
	bothWays(t, func(t *testing.T, front net.Listener) {
		d := door(t, front, forward.To("tcp", echo(t)))
		d.Places = 4
		run(t, d)
		used := dial(t, front.Addr())
		begun := time.Now()
		var idle []net.Conn
		for range d.Places - 1 {
			conn := dial(t, front.Addr())
			if err := say(conn); err != nil {
				t.Fatal(err)
			}
			idle = append(idle, conn)
		}
		// One that is in use all the time stays, though it is the oldest.
		stop, stayed := make(chan struct{}), make(chan error, 1)
		go func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				if err := say(used); err != nil {
					stayed <- err
					return
				}
				select {
				case <-tick.C:
				case <-stop:
					stayed <- nil
					return
				}
			}
		}()
		if err := say(dial(t, front.Addr())); err != nil {
			t.Errorf("new connection while idle ones have all places: %v", err)
		}
		if took := time.Since(begun); took < 4*time.Second {
			t.Errorf("an idle connection gave way %v after it was used or sooner, want 5 s", took)
		}
		close(stop)
		if err := <-stayed; err != nil {
			t.Errorf("connection in use: %v", err)
		}
		gone := 0
		for _, conn := range idle { // the kernel's clock does not tell which of them is the oldest
			if err := say(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("an idle connection: %v", err)
			} else if err != nil {
				gone++
			}
		}
		if gone != 1 {
			t.Errorf("%d of the idle connections have ended, want one", gone)
		}
	})
}

func TestConnectionsThatAreNeverUsedKeepNobodyOutForLong(t *testing.T) {
	front := listen(t, "tcp", "127.0.0.1:0")
	d := door(t, front, forward.To("tcp", echo(t)))
	d.Places = 32
	run(t, d)
	for range 4 * d.Places {
		dial(t, front.Addr())
	}
	if err := say(dial(t, front.Addr())); err != nil {
		t.Errorf("connection after %d that are not used: %v", 4*d.Places, err)
	}
}

// mute takes what comes and never answers.
func mute(t *testing.T) string {
	l := listen(t, "tcp", "127.0.0.1:0")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn) }() // until the test ends it
		}
	}()
	return l.Addr().String()
}

// Who goes on asking without ever having had an answer gives way before those that have
// had one, however often it says something.
func TestSlowQuestionsKeepNobodyOut(t *testing.T) {
	bothWays(t, func(t *testing.T, front net.Listener) {
		d := door(t, front, forward.To("tcp", mute(t)))
		d.Places = 4
		run(t, d)
		for range 3 * d.Places {
			slow := dial(t, front.Addr())
			ctx := t.Context()
			go func() {
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for ctx.Err() == nil {
					if _, err := slow.Write([]byte("x")); err != nil {
						return
					}
					<-tick.C
				}
			}()
		}
		// It got in when it is the one that gives way in the end.
		last := dial(t, front.Addr())
		for _, conn := range append([]net.Conn{last}, dial(t, front.Addr()), dial(t, front.Addr()), dial(t, front.Addr()), dial(t, front.Addr())) {
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := last.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection behind slow ones: read %d bytes, error %v; want that it was served, and gave way", n, err)
		}
	})
}

func TestPlacesFitTheLimitOfOpenFiles(t *testing.T) {
	for _, c := range []struct {
		limit          uint64
		doors, reserve int
		want           int
	}{
		{1 << 20, 6, 64, 1024}, {20_000, 6, 128, 552}, {1024, 6, 64, 26}, {640, 6, 64, 16}, {1024, 0, 64, 160},
	} {
		got, err := forward.Places(c.limit, c.doors, c.reserve)
		if err != nil || got != c.want {
			t.Errorf("limit %d, %d doors, %d in reserve: %d places, error %v; want %d", c.limit, c.doors, c.reserve, got, err, c.want)
		}
	}
	if _, err := forward.Places(639, 6, 64); err == nil || !strings.Contains(err.Error(), "639") {
		t.Errorf("one file too few: error %v, want one that says how many there may be", err)
	}
}
