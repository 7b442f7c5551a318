package server

import (
	"testing"
	"time"
)

func TestPausesAreLessThanHalfOfTheWait(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		waited  time.Duration
		entries int
		want    time.Duration
	}{
		{0, 1000, 0},
		{time.Minute, 0, maxPause},
		{time.Minute, 1000, maxPause},
		{10 * time.Millisecond, 9 * burst, 500 * time.Microsecond},
		{10 * time.Microsecond, 99 * burst, 50 * time.Nanosecond},
	} {
		got := pause(c.waited, c.entries)
		if got != c.want {
			t.Errorf("after %v, %d entries: pauses of %v, want %v", c.waited, c.entries, got, c.want)
		}
		if all := got * time.Duration(c.entries/burst); all > c.waited/2 {
			t.Errorf("after %v, %d entries: pauses of %v altogether", c.waited, c.entries, all)
		}
	}
}
