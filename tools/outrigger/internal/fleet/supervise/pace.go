package supervise

import "time"

// Pauses between two probes of a process: while it comes up, from the first to the
// longest; after that, the steady one.
const (
	firstProbe  = 25 * time.Millisecond
	maxProbe    = 500 * time.Millisecond
	steadyProbe = 2 * time.Second
)

// pace says how often a process is asked whether it is ready: often until it is, then
// now and then.
type pace struct {
	pause  time.Duration
	cameUp bool
	misses int // in a row, since it came up
}

func newPace() *pace { return &pace{pause: firstProbe} }

// next takes the outcome of a probe and returns how long to wait before the next one,
// and whether this one counts. The first miss of a process that was ready does not: a
// busy machine may be late once. It is asked again soon.
func (p *pace) next(ready bool) (pause time.Duration, counts bool) {
	switch {
	case ready:
		p.cameUp, p.misses = true, 0
		return steadyProbe, true
	case !p.cameUp:
		pause = p.pause
		p.pause = min(2*pause, maxProbe)
		return pause, true
	default:
		p.misses++
		if p.misses == 1 {
			return maxProbe, false
		}
		return steadyProbe, true
	}
}
