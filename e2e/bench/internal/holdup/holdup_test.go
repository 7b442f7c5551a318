package holdup_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/e2e/bench/internal/holdup"
)

// A thread of a higher real-time priority takes a processor away as a hypervisor would.
func TestAProcessorThatIsTakenIsNoticed(t *testing.T) {
	if os.Geteuid() != 0 {
		if _, err := holdup.Watch(); err == nil {
			t.Error("somebody other than root could set real-time priorities")
		}
		return
	}
	w, err := holdup.Watch()
	if err != nil {
		t.Fatal(err)
	}
	const taken = 100 * time.Millisecond
	take(t, taken)
	if away := w.Stop(); away < taken/2 {
		t.Errorf("away for %v, want about %v", away, taken)
	}
}

func TestBlindNoticesNothing(t *testing.T) {
	if away := holdup.Blind().Stop(); away != 0 {
		t.Errorf("away for %v", away)
	}
}

// take has the processor that it runs on for itself for some time.
func take(t *testing.T, d time.Duration) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	set := func(policy, priority uint32) {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
		if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
			t.Fatal(err)
		}
	}
	set(unix.SCHED_FIFO, 50)
	defer set(unix.SCHED_NORMAL, 0)
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}
