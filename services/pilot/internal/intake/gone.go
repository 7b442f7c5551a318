package intake

import (
	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// maxGone is how many deletions are remembered: ten full batches.
const maxGone = 10_000

// gone remembers which objects of the config were deleted.
type gone struct {
	since uint64 // all deletions after this revision are known
	refs  map[model.Ref]bool
}

func (g *gone) take(c bus.Change) {
	if c.Reset || g.refs == nil {
		g.refs, g.since = map[model.Ref]bool{}, c.Revision
	}
	for _, e := range c.Entries {
		ref := model.Ref{Kind: e.Key.Kind, Namespace: e.Key.Namespace, Name: e.Key.Name}
		if e.Envelope.GetDeleted() {
			g.refs[ref] = true
		} else {
			delete(g.refs, ref)
		}
	}
	if len(g.refs) <= maxGone {
		return
	}
	g.refs, g.since = map[model.Ref]bool{}, c.Revision
}

// known reports whether ref was deleted, as far as that can be told of what may have
// been deleted up to a revision.
func (g *gone) known(ref model.Ref, upTo uint64) bool {
	return g.refs[ref] || upTo <= g.since
}

// Deleted reports whether an object of the config that is not there was deleted; true
// as well if it may have been, up to a revision, before this Intake began to remember.
func (k *Intake) Deleted(ref model.Ref, upTo uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gone.known(ref, upTo)
}
