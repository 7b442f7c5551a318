package bus

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// headroom is how far a restored bucket's numbers begin above those held here. The
// state held here may be older than what another reader saw, a kept file some seconds;
// with this distance no reader finds that its bus went back.
const headroom = 1_000_000

// Restore writes what this process holds to a bus that came back empty and returns how
// many objects. See the package comment. fault.Precondition if the bus holds anything
// or there is nothing to restore. A Restore that was cut off may be repeated.
func (b *Bucket) Restore(ctx context.Context) (objects int, err error) {
	if b.sink == nil {
		return 0, fault.Denied.Errorf("bus %q: opened for reading only", b.cfg.Name)
	}
	b.mu.Lock()
	identity, revision, entries := b.view.identity, b.view.revision, sorted(b.view.live)
	b.mu.Unlock()
	if len(entries) == 0 {
		return 0, fault.Precondition.Errorf("bus %q: nothing is held here that could be restored", b.cfg.Name)
	}
	info, err := b.src.Look(ctx)
	if err != nil && fault.Of(err) != fault.NotFound {
		return 0, err
	}
	if err == nil && info.Count > 0 && !info.Restoring {
		return 0, fault.Precondition.Errorf("bus %q: is not empty, it holds %d messages", b.cfg.Name, info.Count)
	}
	if err := b.sink.Create(ctx, Creation{Identity: identity, First: revision + headroom, Restoring: true}); err != nil {
		return 0, err
	}
	if _, err := b.src.Look(ctx); err != nil {
		return 0, err
	}
	if err := b.refill(ctx, entries); err != nil {
		return 0, err
	}
	if err := b.sink.Complete(ctx); err != nil {
		return 0, err
	}
	b.log.Info("last known good written to the bus", "objects", len(entries))
	b.nudge()
	return len(entries), nil
}

// refill appends entries in batches. Nobody reads before Complete.
func (b *Bucket) refill(ctx context.Context, entries []Entry) error {
	var batch []Record
	size := 0
	for i, e := range entries {
		value, err := proto.Marshal(e.Envelope)
		if err != nil {
			return fault.Internal.Wrap(err, e.Key.String())
		}
		batch = append(batch, Record{Path: e.Key.Path(), Value: value})
		size += len(value)
		if i+1 < len(entries) && len(batch) < MaxBatch && size < MaxBytes {
			continue
		}
		if _, err := b.sink.Append(ctx, batch); err != nil {
			return err
		}
		batch, size = nil, 0
	}
	return nil
}
