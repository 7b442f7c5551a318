package forward

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// TestWhoGivesWay fills all places and looks who was told to end when a new one comes.
// The newcomer's time is an argument, so that nobody waits.
func TestWhoGivesWay(t *testing.T) {
	opened := time.Now()
	cases := []struct {
		name  string
		after time.Duration
		in    []kind
		gone  int // of in; -1 for nobody
	}{
		{"never used, not yet", 499 * time.Millisecond, []kind{unused, served}, -1},
		{"never used", 500 * time.Millisecond, []kind{served, unused}, 1},
		{"unanswered, not yet", 999 * time.Millisecond, []kind{asking, served}, -1},
		{"unanswered", time.Second, []kind{served, asking}, 1},
		{"never used before unanswered", time.Minute, []kind{asking, unused}, 1},
		{"used a moment ago", 4999 * time.Millisecond, []kind{served, served}, -1},
		{"one gives way already", time.Minute, []kind{ending, unused}, -1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSeats(len(c.in))
			var open []*connection
			for _, k := range c.in {
				conn := seated(t, k, opened)
				s.open[conn] = k == ending
				open = append(open, conn)
			}
			if _, ok := s.try(&connection{}, opened.Add(c.after)); ok {
				t.Error("there was a place though all are taken")
			}
			for i, conn := range open {
				if told := conn.ctx.Err() != nil; told != (i == c.gone) {
					t.Errorf("connection %d was told to end: %v, want %v", i, told, !told)
				}
			}
		})
	}
}

// kind is what has become of a connection so far.
type kind int

const (
	unused kind = iota // nothing was ever said
	asking             // it has asked and had no answer
	served             // it had an answer just now
	ending             // it was told to give way, elsewhere
)

// seated is an accepted connection of a kind.
func seated(t *testing.T, k kind, opened time.Time) *connection {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	check(t, err)
	near, err := l.Accept()
	check(t, err)
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(func() {
		end()
		client.Close()
		near.Close()
	})
	if k == asking || k == served {
		say(t, client, near)
	}
	if k == served {
		say(t, near, client)
	}
	return &connection{ctx: ctx, end: end, near: near, opened: opened}
}

func say(t *testing.T, from, to net.Conn) {
	t.Helper()
	_, err := io.WriteString(from, "x")
	check(t, err)
	_, err = io.ReadFull(to, make([]byte, 1))
	check(t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
