package bus

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// applyTimeout bounds an Apply whose caller set no deadline.
const applyTimeout = 10 * time.Second

// retries bounds how often a batch is sent again because a tombstone was in the way
// that this process had not heard of, or still remembered.
const retries = 8

// Apply writes a batch and returns its revision; see the package comment. It needs
// Run to be running.
func (b *Bucket) Apply(ctx context.Context, writes []Write) (revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	select {
	case b.applying <- struct{}{}:
		defer func() { <-b.applying }()
	case <-ctx.Done():
		return 0, fault.Unavailable.Wrap(ctx.Err(), "bus: waiting for an earlier batch")
	}
	if err := b.writable(); err != nil {
		return 0, err
	}
	batch, err := b.records(writes)
	if err != nil {
		return 0, err
	}
	defer b.nudge()
	for range retries {
		last, err := b.sink.Append(ctx, batch)
		var stale *StaleError
		if !errors.As(err, &stale) {
			return last, err
		}
		if !forgiven(writes, batch, stale) {
			return 0, lost(writes, batch, stale)
		}
	}
	return 0, fault.Conflict.Errorf("bus %q: the objects are being deleted and made by others all the time", b.cfg.Name)
}

// records checks a batch and encodes it.
func (b *Bucket) records(writes []Write) ([]Record, error) {
	if len(writes) == 0 {
		return nil, fault.Invalid.Errorf("bus %q: empty batch", b.cfg.Name)
	}
	if len(writes) > MaxBatch {
		return nil, fault.Exhausted.Errorf("%d objects in one batch; at most %d can be written at once", len(writes), MaxBatch)
	}
	batch := make([]Record, 0, len(writes))
	seen := make(map[Key]bool, len(writes))
	total := 0
	for _, w := range writes {
		rec, err := b.record(w)
		if err != nil {
			return nil, err
		}
		k := KeyOf(w.Envelope.GetObject())
		if seen[k] {
			return nil, fault.Invalid.Errorf("%s: twice in one batch", k)
		}
		seen[k] = true
		if total += len(rec.Value); total > MaxBytes {
			return nil, fault.Exhausted.Errorf("batch is larger than %d MiB at %s", MaxBytes>>20, k)
		}
		batch = append(batch, rec)
	}
	return batch, nil
}

func (b *Bucket) record(w Write) (Record, error) {
	k := KeyOf(w.Envelope.GetObject())
	if k.Kind == "" || k.Name == "" {
		return Record{}, fault.Invalid.Errorf("object without kind or name: %s", k)
	}
	if w.Envelope.GetDeleted() && w.BasedOn == 0 {
		return Record{}, fault.Invalid.Errorf("%s: a deletion that is not based on anything", k)
	}
	rec := Record{Path: k.Path(), Expect: w.BasedOn}
	if len(rec.Path) > maxPath {
		return Record{}, fault.Invalid.Errorf("%s: name is too long for the bus", k)
	}
	value, err := proto.Marshal(w.Envelope)
	if err != nil {
		return Record{}, fault.Invalid.Wrap(err, k.String())
	}
	if len(value) > MaxObject {
		return Record{}, fault.Exhausted.Errorf("%s: %d bytes; an object may have %d", k, len(value), MaxObject)
	}
	rec.Value = value
	if w.Envelope.GetDeleted() {
		rec.Expires = b.cfg.Tombstones
	}
	if w.BasedOn == 0 {
		b.mu.Lock()
		rec.Expect = b.view.dead[k].Seq
		b.mu.Unlock()
	}
	return rec, nil
}

// forgiven tells that the expectation failed only because of a tombstone, and mends
// it: who wants an object not to exist is served by a deleted one.
func forgiven(writes []Write, batch []Record, stale *StaleError) bool {
	i := find(batch, stale.Path)
	if i < 0 || writes[i].BasedOn != 0 || !stale.Deleted && stale.Last != 0 {
		return false
	}
	batch[i].Expect = stale.Last
	return true
}

func find(batch []Record, path string) int {
	for i := range batch {
		if batch[i].Path == path {
			return i
		}
	}
	return -1
}

func lost(writes []Write, batch []Record, stale *StaleError) error {
	i := find(batch, stale.Path)
	if i < 0 {
		return fault.Conflict.Errorf("an object of the batch was changed by somebody else at the same time")
	}
	k := KeyOf(writes[i].Envelope.GetObject())
	switch {
	case writes[i].BasedOn == 0:
		return fault.Conflict.Errorf("%s: already exists", k)
	case stale.Deleted || stale.Last == 0:
		return fault.Conflict.Errorf("%s: was deleted by somebody else", k)
	}
	return fault.Conflict.Errorf("%s: was changed by somebody else; the write is based on %d, the newest is %d",
		k, writes[i].BasedOn, stale.Last)
}
