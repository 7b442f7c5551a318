package bus

import (
	"math"

	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
)

// Limits of one Apply.
const (
	// MaxBatch is how many writes one batch may hold: the server's limit.
	MaxBatch = 1000
	// MaxObject bounds one encoded envelope. With headers it stays under NATS's
	// default payload of 1 MiB.
	MaxObject = 1<<20 - 16<<10
	// MaxBytes bounds the encoded envelopes of one batch together.
	MaxBytes = 32 << 20
)

// Entry is one object, or its tombstone, as the bus holds it. The envelope is shared
// between readers and must not be changed.
type Entry struct {
	Key Key
	// Seq is the entry's own number: what a later Write is based on. 0 for a deletion
	// that was noticed by the object's absence.
	Seq uint64
	// Revision is the number of the batch that wrote it.
	Revision uint64
	Envelope *busv1.Envelope
}

// Any as BasedOn overwrites whatever is there.
const Any = math.MaxUint64

// Write is one change to one object: to Envelope.Object's key, a deletion if
// Envelope.Deleted. The object is needed also for a deletion (kind and metadata).
type Write struct {
	Envelope *busv1.Envelope
	// BasedOn is the Seq of the Entry that the writer saw; 0 means that the object
	// must not exist (one that was deleted does not exist); Any means no condition.
	BasedOn uint64
}

// Change is one step of a reader's state.
type Change struct {
	// Revision is the state's revision after this change.
	Revision uint64
	// Entries are in the order of Seq, each key at most once. In a Reset there are no
	// tombstones.
	Entries []Entry
	// Reset means that Entries are the whole state.
	Reset bool
	// Stale means that the state comes from disk, since the bus could not be read.
	Stale bool
}

// State is how a reader stands with its bus. For readiness and for people.
type State struct {
	// Connected means that the last attempt to read the bus worked.
	Connected bool
	// Stale means that what was delivered last came from disk.
	Stale bool
	// Refused says why the bus that was found is not read, and what to do.
	Refused string
	// Waiting says what the reader waits for, "" if nothing.
	Waiting string
	// Revision is that of the state delivered last, 0 before the first.
	Revision uint64
}
