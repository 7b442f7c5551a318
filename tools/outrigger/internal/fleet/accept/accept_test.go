package accept_test

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/accept"
)

// scripted is a listener whose Accept returns what is listed, in turn.
type scripted struct {
	net.Listener
	errs []error // nil: a connection
}

func (s *scripted) Accept() (net.Conn, error) {
	err := s.errs[0]
	s.errs = s.errs[1:]
	if err != nil {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	}
	near, _ := net.Pipe()
	return near, nil
}

func TestWhatPassesIsWaitedForAndToldOnce(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		synctest.Test(t, func(t *testing.T) {
			var told []error
			l := accept.New(t.Context(), &scripted{errs: []error{errno, errno, errno, nil, errno, nil}},
				func(err error) { told = append(told, err) })
			for i := range 2 {
				if conn, err := l.Accept(); err != nil || conn == nil {
					t.Fatalf("%v: connection %d: %v", errno, i, err)
				}
			}
			if len(told) != 1 || !errors.Is(told[0], errno) {
				t.Errorf("%v: told %v, want it once", errno, told)
			}
		})
	}
}

func TestWhatDoesNotPassIsAnError(t *testing.T) {
	l := accept.New(t.Context(), &scripted{errs: []error{unix.EINVAL}}, func(err error) { t.Errorf("told as passing: %v", err) })
	if _, err := l.Accept(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("error is %v, want %v", err, unix.EINVAL)
	}
}

func TestTheEndOfTheContextEndsTheWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := accept.New(ctx, &scripted{errs: []error{unix.EMFILE}}, func(error) { cancel() })
	if _, err := l.Accept(); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}
