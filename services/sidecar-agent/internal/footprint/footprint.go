// Package footprint keeps the process small: it gives back to the system what a mostly
// idle process does not need. In: nothing. Out: fewer resident pages. It changes no
// behaviour; what was given back is read again from the page cache when it is touched.
package footprint

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// How often pages are given back. Dropping the program's own pages costs a system call
// and some page faults, and has to be more frequent than the questions to application
// and Envoy, which need the pages; collecting garbage walks the heap.
const (
	dropEvery    = 400 * time.Millisecond
	collectEvery = 15 * time.Second
)

// Run gives pages back now and then until ctx ends. It lets the runtime use one
// processor at a time and collect often: the process waits nearly always.
func Run(ctx context.Context, log *slog.Logger) error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
	spans, err := readOnly()
	if err != nil {
		log.Warn("own mappings not known: more memory stays resident", "error", err)
	}
	tick := time.NewTicker(dropEvery)
	defer tick.Stop()
	var collected time.Time
	for {
		if time.Since(collected) >= collectEvery {
			debug.FreeOSMemory()
			collected = time.Now()
		}
		if err := drop(spans); err != nil {
			log.Warn("pages not given back", "error", err)
			spans = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func drop(spans []span) error {
	for _, s := range spans {
		if err := s.drop(); err != nil {
			return err
		}
	}
	return nil
}

// span is a mapping of our own program that is never written.
type span struct{ begin, end uintptr }

// drop makes the pages not resident. They are clean pages of a file, so that nothing is
// lost; the program must be linked statically and not as position independent, else
// the mapping could hold relocated, private pages.
func (s span) drop() error {
	_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, s.begin, s.end-s.begin, syscall.MADV_DONTNEED)
	if errno != 0 {
		return fmt.Errorf("madvise %x-%x: %w", s.begin, s.end, errno)
	}
	return nil
}

// readOnly lists the mappings of our own program's text and constants.
func readOnly() ([]span, error) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("own program: %w", err)
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("own mappings: %w", err)
	}
	defer f.Close()
	var out []span
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var s span
		var mode string
		if _, err := fmt.Sscanf(sc.Text(), "%x-%x %s", &s.begin, &s.end, &mode); err != nil {
			return nil, fmt.Errorf("own mappings: %w", err)
		}
		if strings.HasSuffix(sc.Text(), " "+self) && mode[0] == 'r' && mode[1] == '-' && mode[3] == 'p' {
			out = append(out, s)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("own mappings: %w", err)
	}
	return out, nil
}
