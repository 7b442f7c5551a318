package fleet

import "time"

// Backoff says how long to wait before a process is started again: 100 ms,
// doubled with each failure in a row, 5 s at most, half a second if it was ready.
type Backoff struct {
	failures int
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	// readyPause is for one that others may be waiting for, such as those who ask a
	// sidecar for names.
	readyPause = 500 * time.Millisecond
	// steady is how long a process must have run for its failure to count as
	// the first.
	steady = 10 * time.Second
)

// Next takes how long the process ran, and whether it came up, and returns the pause.
func (b *Backoff) Next(ran time.Duration, cameUp bool) time.Duration {
	if ran >= steady {
		b.failures = 0
	}
	pause := firstPause << min(b.failures, 6)
	b.failures++
	if cameUp {
		return min(pause, readyPause)
	}
	return min(pause, maxPause)
}

// Failures is the number of failures in a row.
func (b *Backoff) Failures() int { return b.failures }
