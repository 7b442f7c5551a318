// Package bus is how accepted objects travel: pilot writes them, everybody else
// reads them. In: batches of envelopes. Out: changes, in order, and the newest state
// after any loss. It never looks into an object's spec.
//
// # What a bucket is
//
// A bucket ("config", "registry") holds the newest version of each object under its
// Key, and for a time the tombstones of deleted ones. Buckets know nothing of each
// other. The bytes are kept by a store: package natsbus (NATS JetStream) or membus
// (this process). Everything below is the work of Bucket and holds for both.
//
// # Order and revisions
//
// A bucket numbers its writes: 1, 2, 3, … An Entry's Seq is its own number, its
// Revision the number of the last write of its batch. All entries of a batch have
// the same Revision; a later batch has a higher one; no two batches share one. Every
// reader sees entries in the order of Seq. Numbers never go back, a Restore included;
// they may leave gaps.
//
// # Writing
//
// Apply is all or nothing: up to MaxBatch writes become visible together or not at
// all, also over a crash of the server. Each Write says which Seq it was based on; if
// one of them is no longer the newest, the whole batch is refused with
// fault.Conflict, which names the key. A batch that is too large is refused with
// fault.Exhausted before anything is sent. fault.Unavailable means that the bus could
// not be asked, or that its answer was lost: then the batch may have been accepted,
// and sending it again with the same BasedOn is safe, because it can be accepted only
// once (with Any, it is accepted again and changes nothing but its numbers). When Apply returns without error the batch is on the server's disk, with the
// sync settings we ship also in the sense of fsync.
//
// # Reading
//
// Run delivers Changes, one at a time. A Change holds one or more whole batches,
// never a part of one, and each Key at most once. The first one has Reset set: it is
// the whole state and replaces whatever the reader had. Entries of later ones replace
// or, with Envelope.Deleted, remove single objects.
//
// Delivery is of facts, at least once: after a loss an object may come again with the
// Seq that it had, and must then change nothing. What is not promised is every
// version: the store keeps the newest one per key only (compaction), so who was slow
// or away sees the newest version and never those in between. Tombstones are kept for
// Config.Tombstones (seven days) and then forgotten; a reader that was away for
// longer still learns of the deletion, because it compares the whole state.
//
// # Slow readers
//
// deliver may block. Nothing is queued for a reader that is busy, neither in its
// process nor on the server, writers and other readers do not notice, and when it
// comes back it gets one Change with all it missed.
//
// # Loss, reconnect, reconcile
//
// That something changed is told by hints, which may be lost. Every Config.Reconcile
// (two seconds) a reader asks the bus for its newest number and catches up, so a lost
// hint costs that much time and nothing else. After every loss of connection, however
// short, the reader lists the whole bucket, compares, and delivers only what differs.
//
// # Last known good
//
// A reader with a Keep stores its state on disk. When the bus cannot be read within
// Config.Patience of start, that state is delivered as a Change with Reset and Stale;
// the first Change from the bus itself is then again a Reset. While the bus is away a
// running reader simply keeps what it has. State tells which of these holds.
//
// # An empty or foreign bus
//
// A new bucket gets a random identity. A reader that holds objects refuses a bus that
// has no such bucket, an empty one, one of another identity, one that is being
// restored, and one whose newest number is below what the reader has seen. It logs
// this once, says so in State with what to do about it, delivers nothing and keeps
// what it has. A writer in this position refuses every Apply with
// fault.Precondition. It goes on looking, so it recovers by itself once the right bus
// is back. A reader that holds nothing has nothing to lose and takes any bus.
//
// Restore writes a reader's last known good into an empty bus, under the old identity
// and with higher numbers, as one change for all readers: while it runs the bucket is
// marked and nobody reads from it. Objects get new Seq and Revision by this. What
// other readers had seen since the restored state is lost, for them too. It is refused
// when the bus holds anything. The other way out, taking the bus as it is, is
// to remove the kept file and restart.
//
// Only a writer creates a bucket, and only if it holds nothing itself. A reader for
// whom there is no bucket yet waits, which is not a refusal.
package bus
