package supervise

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper collects the ends of all processes. As the first process of its
// namespace the supervisor inherits every orphan, such as an Envoy whose parent
// was killed, and must collect those too.
type reaper struct {
	// mu is held while a process starts, so that none is collected before it is
	// known.
	mu    sync.Mutex
	known map[int]chan<- unix.WaitStatus
}

func newReaper() *reaper { return &reaper{known: map[int]chan<- unix.WaitStatus{}} }

// start calls fork and sends the end of the process it made to the channel.
func (r *reaper) start(fork func() (pid int, err error)) (int, <-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return 0, nil, err
	}
	end := make(chan unix.WaitStatus, 1) // a process ends once
	r.known[pid] = end
	return pid, end, nil
}

// Run collects until ctx ends.
func (r *reaper) Run(ctx context.Context) error {
	ended := make(chan os.Signal, 1) // signals merge: one says "look"
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		r.collect()
		select {
		case <-ended:
		case <-ctx.Done():
			return nil
		}
	}
}

// collect takes all ends there are and says whether a process is left.
func (r *reaper) collect() (left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false
		case pid == 0:
			return true
		}
		if end, ok := r.known[pid]; ok {
			end <- status
			delete(r.known, pid)
		}
	}
}
