// Package holdup notices when a processor of this machine is not there: taken by the
// hypervisor for other machines, or kept by the kernel. In: nothing. Out: for how long.
package holdup

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/sleep"
)

const (
	// every is how often a processor is asked for.
	every = time.Millisecond
	// least is the delay from which on it counts as away: waking up takes a tenth.
	least = 500 * time.Microsecond
	// priority is the least of those that go before all ordinary threads.
	priority = 1
)

// Watch has a thread on each processor that wants to run every millisecond and goes
// before all ordinary threads: when it runs late, nobody has run. It needs the right to
// set real-time priorities. Who calls Watch must call Stop.
func Watch() (*Watcher, error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("watch for hold-ups: %w", err)
	}
	w := Blind()
	ready := make(chan error, allowed.Count())
	for cpu, begun := 0, 0; begun < allowed.Count(); cpu++ {
		if allowed.IsSet(cpu) {
			begun++
			w.threads.Go(func() { w.watch(cpu, &allowed, ready) })
		}
	}
	var errs []error
	for range allowed.Count() {
		errs = append(errs, <-ready)
	}
	if err := errors.Join(errs...); err != nil {
		w.Stop()
		return nil, fmt.Errorf("watch for hold-ups: %w", err)
	}
	return w, nil
}

// Watcher notices hold-ups from Watch to Stop.
type Watcher struct {
	stop    chan struct{}
	threads sync.WaitGroup
	away    atomic.Int64 // nanoseconds
}

// Blind returns a Watcher that notices nothing.
func Blind() *Watcher { return &Watcher{stop: make(chan struct{})} }

// Stop ends the watch and returns for how long processors were away, all together. It
// may be called once.
func (w *Watcher) Stop() time.Duration {
	close(w.stop)
	w.threads.Wait()
	return time.Duration(w.away.Load())
}

// watch gives its thread back as it was: were it to end, so would the processes that it
// has started and that are to die with it.
func (w *Watcher) watch(cpu int, allowed *unix.CPUSet, ready chan<- error) {
	runtime.LockOSThread()
	defer func() {
		if schedule(allowed, unix.SCHED_NORMAL, 0) == nil {
			runtime.UnlockOSThread()
		}
	}()
	var one unix.CPUSet
	one.Set(cpu)
	err := schedule(&one, unix.SCHED_FIFO, priority)
	ready <- err
	if err != nil {
		return
	}
	for due := time.Now(); !w.stopped(); {
		due = due.Add(every)
		sleep.For(time.Until(due))
		if late := time.Since(due); late > least {
			w.away.Add(int64(late))
			due = time.Now()
		}
	}
}

func (w *Watcher) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// schedule says where the calling thread runs, and before whom.
func schedule(on *unix.CPUSet, policy, priority uint32) error {
	if err := unix.SchedSetaffinity(0, on); err != nil {
		return fmt.Errorf("processors of a thread: %w", err)
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("priority of a thread: %w", err)
	}
	return nil
}
