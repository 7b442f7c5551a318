package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Space is one network namespace, kept alive by an open descriptor. The zero
// value is not usable; get one from Current or New. Methods may be called
// concurrently, except Close.
type Space struct {
	file *os.File
}

// threadNet names the namespace of the calling thread, not of the process's
// first thread: the two differ inside Do.
const threadNet = "/proc/thread-self/ns/net"

// Current returns the network namespace of the calling thread.
func Current() (*Space, error) {
	file, err := os.Open(threadNet)
	if err != nil {
		return nil, fmt.Errorf("open the current network namespace: %w", err)
	}
	return &Space{file: file}, nil
}

// New makes an empty network namespace. The calling goroutine stays in its own.
func New() (*Space, error) {
	home, err := Current()
	if err != nil {
		return nil, err
	}
	defer home.Close()

	var made *Space
	err = onThread(home, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		made, err = Current()
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// FD is the descriptor that keeps the namespace alive. It stays owned by the
// Space and must not be closed by the caller.
func (s *Space) FD() int { return int(s.file.Fd()) }

// Do calls fn in the namespace, on a thread of its own. Sockets that fn opens
// belong to the namespace for as long as they live; goroutines that fn starts
// do not run in it.
func (s *Space) Do(fn func() error) error {
	home, err := Current()
	if err != nil {
		return err
	}
	defer home.Close()
	return onThread(home, func() error {
		if err := unix.Setns(s.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return fn()
	})
}

// Close lets the namespace go; the kernel keeps it while a process is inside.
func (s *Space) Close() error { return s.file.Close() }

// onThread runs fn on a thread that fn may move to other namespaces, and
// brings the thread home afterwards. A thread that cannot be brought home is
// given up: its goroutine ends without unlocking it, which ends the thread.
func onThread(home *Space, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := fn()
		back := unix.Setns(home.FD(), unix.CLONE_NEWNET)
		if back == nil {
			runtime.UnlockOSThread()
		}
		done <- errors.Join(err, back)
	}()
	return <-done
}

// Duplicate opens the namespace once more, for a process that is to inherit it.
// The caller closes the file.
func (s *Space) Duplicate() (*os.File, error) {
	fd, err := unix.FcntlInt(s.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate a network namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), "net"), nil
}
