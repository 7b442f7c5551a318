package registry

import (
	"context"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/bus"
)

// sweep is how often leases are looked at. When the last look is longer ago than stood,
// this process stood still, and renewals wait to be read.
const sweep, stood = time.Second, 5 * time.Second

// Run ends registrations whose lease ran out, until ctx ends. After a start, and after
// it stood still, every lease begins anew: that pilot was away is no fault of the
// workloads.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.expire(ctx, time.Now()) // the tick may be of long ago
		}
	}
}

func (s *Service) expire(ctx context.Context, now time.Time) {
	entries, loaded, _ := s.store.Entries()
	if !loaded {
		return
	}
	s.mu.Lock()
	if now.Sub(s.swept) > stood {
		clear(s.seen)
	}
	s.swept = now
	over := expired(entries, s.seen, now)
	s.mu.Unlock()
	for _, e := range over {
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := s.apply(call, []bus.Write{deletion(e)})
		cancel()
		if err != nil {
			s.log.Debug("lease not ended", "workload", e.Key.String(), "error", err)
			return
		}
		s.log.Info("lease ended", "workload", e.Key.String())
	}
}

// expired returns the entries whose lease ran out. Those not heard of yet count as
// heard of now; those that are gone are forgotten.
func expired(entries []bus.Entry, seen map[bus.Key]time.Time, now time.Time) []bus.Entry {
	var over []bus.Entry
	alive := map[bus.Key]bool{}
	for _, e := range entries {
		lease := e.Envelope.GetObject().GetWorkload().GetLease().AsDuration()
		if e.Envelope.GetOrigin() != originAgent || lease <= 0 {
			continue
		}
		alive[e.Key] = true
		switch at, ok := seen[e.Key]; {
		case !ok:
			seen[e.Key] = now
		case now.Sub(at) > lease:
			over = append(over, e)
		}
	}
	for k := range seen {
		// A registration may be accepted and not read back yet.
		if !alive[k] && now.Sub(seen[k]) > time.Minute {
			delete(seen, k)
		}
	}
	return over
}

func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, "-") == s && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	}) < 0
}

func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isLabel(part) {
			return false
		}
	}
	return true
}
