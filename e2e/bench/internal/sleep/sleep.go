// Package sleep waits more exactly than the runtime does. In: a time. Out: nothing.
package sleep

import (
	"time"

	"golang.org/x/sys/unix"
)

// For sleeps in the kernel, with the calling thread: the runtime's timers are rounded to
// milliseconds. A time below zero is none.
func For(d time.Duration) {
	rest := unix.NsecToTimespec(max(0, d.Nanoseconds()))
	for unix.Nanosleep(&rest, &rest) == unix.EINTR {
	}
}
