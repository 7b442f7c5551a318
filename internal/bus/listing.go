package bus

import (
	"context"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// rounds bounds how often a listing is continued before it is given up until the next
// reconcile.
const rounds = 10

// readAll returns the newest message of every path, in order, as they were at one
// instant, and the number of that instant. info is what the last Look said.
//
// One page is isolated, several are not: while they are read, messages of earlier
// pages may be replaced by later ones, and on a cluster the pages may come from
// servers of which one is behind. What was missed on an earlier page was replaced by
// something that the leader had by then. So the listing is whole when a page, the last
// one, reaches the number that the leader gave out after all pages before it; or, if
// that message has expired, when there are as many messages as the leader counts.
func (r *reader) readAll(ctx context.Context, info Info) (msgs []Message, last uint64, err error) {
	newest := map[string]Message{}
	var pos uint64
	for round := range rounds {
		n, single, err := r.pages(ctx, newest, &pos)
		if err != nil {
			return nil, 0, err
		}
		if single && (pos >= info.Last || n == 0 && uint64(len(newest)) == info.Count) {
			return bySeq(newest), max(pos, info.Last), nil
		}
		if round > 2 && !pause(ctx, time.Duration(round)*10*time.Millisecond) {
			return nil, 0, ctx.Err()
		}
		instance := info.Instance
		if info, err = r.src.Look(ctx); err != nil {
			return nil, 0, err
		}
		if info.Instance != instance {
			return nil, 0, fault.Unavailable.Errorf("bus %q: made anew while it was listed", r.cfg.Name)
		}
	}
	return nil, 0, fault.Unavailable.Errorf("bus %q: no whole listing in %d rounds", r.cfg.Name, rounds)
}

// pages reads to the end and advances pos.
func (r *reader) pages(ctx context.Context, newest map[string]Message, pos *uint64) (n int, single bool, err error) {
	for single = true; ; single = false {
		page, more, err := r.src.Page(ctx, *pos)
		if err != nil {
			return 0, false, err
		}
		for _, m := range page {
			newest[m.Path] = m
			*pos = m.Seq
		}
		n += len(page)
		if !more {
			return n, single, nil
		}
	}
}

// pause waits without outliving ctx.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
