package registry

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// Limits of one round of copying: in time, and in writes that failed, so that a registry
// that takes nothing is not asked for each object.
const (
	roundTimeout = 30 * time.Second
	maxFailures  = 64
)

// races is in how many rounds on end a write may lose against others before that is
// more than bad luck: a round may begin before the last one's writes were read.
const races = 5

// failure is why an object was not written.
type failure struct {
	reason string
	alone  bool // it was not written by itself, not only as one of many
	lost   int  // in how many rounds on end somebody else was faster
}

// failures of one round.
type failures map[bus.Key]failure

// stuck leaves out what the next round will bring.
func (f failures) stuck() map[bus.Key]string {
	out := map[bus.Key]string{}
	for key, x := range f {
		if x.lost == 0 || x.lost >= races {
			out[key] = x.reason
		}
	}
	return out
}

// round is one attempt to write what is due.
type round struct {
	to       writer
	attempts int // that failed
	hopeless bool
	reason   error
	last     failures
	failed   failures
}

// copy writes, in as few batches as it goes, and returns what could not be written. What
// could not be written by itself the last time comes last, in any order, so that all
// have a turn.
func (m *Mirror) copy(ctx context.Context, writes []bus.Write, last failures) failures {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	r := &round{to: m.to, last: last, failed: failures{}}
	var many, single []bus.Write
	for _, w := range writes {
		w.Envelope.Writer, w.Envelope.AcceptedAt = m.self, timestamppb.Now()
		if last[bus.KeyOf(w.Envelope.GetObject())].alone {
			single = append(single, w)
			continue
		}
		many = append(many, w)
	}
	rand.Shuffle(len(single), func(i, j int) { single[i], single[j] = single[j], single[i] })
	for part := range slices.Chunk(many, bus.MaxBatch) {
		r.write(ctx, part)
	}
	for part := range slices.Chunk(single, 1) {
		r.write(ctx, part)
	}
	return r.failed
}

// write writes a batch, and if it is not taken, its halves: one object that the registry
// does not take must not hold back the others.
func (r *round) write(ctx context.Context, batch []bus.Write) {
	if !r.hopeless {
		_, err := r.to.Apply(ctx, batch)
		if err == nil {
			return
		}
		r.attempts++
		r.reason = err
		r.hopeless = fault.Of(err) == fault.Precondition || ctx.Err() != nil || r.attempts >= maxFailures
		if len(batch) > 1 && !r.hopeless {
			half := len(batch) / 2
			r.write(ctx, batch[:half])
			r.write(ctx, batch[half:])
			return
		}
	}
	for _, w := range batch {
		key := bus.KeyOf(w.Envelope.GetObject())
		f := failure{reason: r.reason.Error(), alone: len(batch) == 1 && !r.hopeless || r.last[key].alone}
		if fault.Of(r.reason) == fault.Conflict {
			f.lost = r.last[key].lost + 1
		}
		r.failed[key] = f
	}
}
