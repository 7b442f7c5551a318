package bus

import (
	"context"
	"fmt"
	"time"
)

// Info is what a store says of a bucket.
type Info struct {
	// Identity is what the bucket was created with; a restore keeps it.
	Identity string
	// Instance differs whenever the bucket was made anew, a restore included.
	Instance string
	// Last is the newest number given out.
	Last uint64
	// Count is how many messages, tombstones included, there are.
	Count uint64
	// Restoring is set from Create with Restoring until Complete.
	Restoring bool
}

// Message is one stored write.
type Message struct {
	Path     string // of the Key
	Seq      uint64
	Revision uint64 // 0 if the message was not written by a Bucket
	Value    []byte // an encoded envelope
}

// Source reads a bucket. Safe for concurrent use; every call ends by itself after
// some seconds at most.
type Source interface {
	// Look describes the bucket as its leader sees it. fault.NotFound: the server is
	// there and has no such bucket. fault.Unavailable: the server cannot be asked.
	Look(ctx context.Context) (Info, error)
	// Page returns messages after a number, in order, as they were at one instant
	// between two batches. more means that there are others behind. It reads the
	// bucket that the last Look saw: if the connection was lost since, or there was no
	// Look, it gives fault.Unavailable.
	Page(ctx context.Context, after uint64) (msgs []Message, more bool, err error)
	// Hints receives when there may be something to see or the connection changed. It
	// holds one hint; more are dropped.
	Hints() <-chan struct{}
}

// Record is one message to be stored.
type Record struct {
	Path  string
	Value []byte
	// Expect is the number of the newest message of this path, 0 for none, Any.
	Expect uint64
	// Expires removes the message after that time; 0 keeps it.
	Expires time.Duration
}

// Creation is a bucket to be made.
type Creation struct {
	Identity string
	// First is the number that the first message gets; 0 is 1.
	First uint64
	// Restoring marks the bucket until Complete, and lets Create replace an empty or
	// marked one.
	Restoring bool
}

// Sink writes a bucket. The same rules as for Source hold.
type Sink interface {
	// Create makes the bucket. fault.Conflict if there is one that may not be
	// replaced.
	Create(ctx context.Context, c Creation) error
	// Append stores all records or none, with consecutive numbers, and returns the
	// last one. A *StaleError says that an expectation did not hold. Like Page it
	// writes only to the bucket that the last Look saw.
	Append(ctx context.Context, batch []Record) (last uint64, err error)
	// Complete removes the mark of Restoring.
	Complete(ctx context.Context) error
}

// StaleError is a store's answer to an expectation that did not hold.
type StaleError struct {
	// Path is empty if the store cannot say which record it was.
	Path string
	// Last is the newest number of that path, 0 for none.
	Last uint64
	// Deleted tells that the newest message is a tombstone.
	Deleted bool
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("newest message of %q is %d", e.Path, e.Last)
}
