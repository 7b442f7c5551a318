package server

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
)

// limiter lets each caller have so many calls a second, and some at once. It forgets
// callers that have not called for a while, and knows so many at most. Safe for
// concurrent use.
type limiter struct {
	rate, burst float64

	mu      sync.Mutex
	callers map[string]*bucket
}

// bucket holds the calls that a caller may make at once.
type bucket struct {
	calls float64
	at    time.Time
}

// maxCallers bounds the callers known, at about 150 bytes each.
const maxCallers = 10000

func newLimiter(rate float64, burst int) *limiter {
	return &limiter{rate: rate, burst: float64(burst), callers: map[string]*bucket{}}
}

// allow takes one call from key's bucket, and reports whether there was one.
func (l *limiter) allow(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.callers[key]
	if b == nil {
		if len(l.callers) >= maxCallers {
			l.forget(now)
		}
		b = &bucket{calls: l.burst, at: now}
		l.callers[key] = b
	}
	b.calls, b.at = l.level(b, now), now
	if b.calls < 1 {
		return false
	}
	b.calls--
	return true
}

func (l *limiter) level(b *bucket, now time.Time) float64 {
	return min(l.burst, b.calls+max(0, now.Sub(b.at).Seconds())*l.rate)
}

// forget drops callers whose bucket is full again, for whom that changes nothing. If
// all have called lately it drops one in ten: memory is bounded first.
func (l *limiter) forget(now time.Time) {
	for key, b := range l.callers {
		if l.level(b, now) >= l.burst {
			delete(l.callers, key)
		}
	}
	for key := range l.callers {
		if len(l.callers) <= maxCallers*9/10 {
			return
		}
		delete(l.callers, key)
	}
}

// limitKey is by what a caller is known: a verified identity, else the address it calls
// from. Of an IPv6 address the first 64 bits count, since a host has all the others.
func limitKey(c rpc.Caller) string {
	if !c.ID.IsZero() {
		return c.ID.String()
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		host = c.Address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
