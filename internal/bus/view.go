package bus

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// view is what a reader knows of its bucket. Not safe for concurrent use.
type view struct {
	identity string
	instance string // "" if not read from the bus yet
	revision uint64
	live     map[Key]Entry
	dead     map[Key]grave
}

// grave is a tombstone and when it was learned of.
type grave struct {
	Entry
	at time.Time
}

func newView() *view { return &view{live: map[Key]Entry{}, dead: map[Key]grave{}} }

// decode turns a message into an entry. An error means that somebody else wrote it.
func decode(m Message) (Entry, error) {
	k, err := ParsePath(m.Path)
	if err != nil {
		return Entry{}, err
	}
	e := &busv1.Envelope{}
	if err := proto.Unmarshal(m.Value, e); err != nil {
		return Entry{Key: k}, fmt.Errorf("%s: not an envelope: %w", k, err)
	}
	if got := KeyOf(e.GetObject()); got != k {
		return Entry{Key: k}, fmt.Errorf("%s: holds %s", k, got)
	}
	if m.Revision < m.Seq {
		return Entry{Key: k}, fmt.Errorf("%s: without its place in a batch", k)
	}
	return Entry{Key: k, Seq: m.Seq, Revision: m.Revision, Envelope: e}, nil
}

// add takes entries in the order of Seq and returns those that are news, each key
// once. What was seen before is no news.
func (v *view) add(entries []Entry, now time.Time) []Entry {
	news := map[Key]Entry{}
	for _, e := range entries {
		if e.Seq <= v.seq(e.Key) {
			continue
		}
		v.put(e, now)
		news[e.Key] = e
	}
	return sorted(news)
}

func (v *view) seq(k Key) uint64 { return max(v.live[k].Seq, v.dead[k].Seq) }

func (v *view) put(e Entry, now time.Time) {
	if e.Envelope.GetDeleted() {
		delete(v.live, e.Key)
		v.dead[e.Key] = grave{e, now}
		return
	}
	delete(v.dead, e.Key)
	v.live[e.Key] = e
}

// forget drops tombstones learned of before a time.
func (v *view) forget(before time.Time) {
	maps.DeleteFunc(v.dead, func(_ Key, g grave) bool { return g.at.Before(before) })
}

// changes returns what leads from old to v: entries that differ, and a deletion for
// each object of old that v does not have.
func (v *view) changes(old *view) []Entry {
	diff := map[Key]Entry{}
	for k, e := range v.live {
		if old.live[k].Seq != e.Seq {
			diff[k] = e
		}
	}
	for k, e := range old.live {
		if _, ok := v.live[k]; ok {
			continue
		}
		if d, ok := v.dead[k]; ok {
			diff[k] = d.Entry
			continue
		}
		diff[k] = Entry{Key: k, Revision: v.revision, Envelope: tombstone(e.Envelope)}
	}
	return sorted(diff)
}

func tombstone(e *busv1.Envelope) *busv1.Envelope {
	o := e.GetObject()
	return &busv1.Envelope{
		Object: &configv1.Object{Kind: o.GetKind(), Metadata: o.GetMetadata(), ApiVersion: o.GetApiVersion()},
		Origin: e.GetOrigin(), Deleted: true,
	}
}

// sorted orders by Seq; deletions without one come first, by key.
func sorted(m map[Key]Entry) []Entry {
	return slices.SortedFunc(maps.Values(m), func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Key.String(), b.Key.String()))
	})
}

// judge says why a bus may not be read by who holds v; "" if it may.
func (v *view) judge(i Info) string {
	n := len(v.live)
	switch {
	case i.Restoring:
		return "the bus is being restored"
	case i.Identity == "":
		return "the bus has a bucket of this name that was not made by a writer of this mesh"
	case n == 0:
		return ""
	case i.Identity != v.identity:
		return fmt.Sprintf("the bus is another one than the %d objects held here came from", n)
	case i.Count == 0:
		return fmt.Sprintf("the bus came back empty; %d objects are held here", n)
	case i.Last < v.revision:
		return fmt.Sprintf("the bus went back to revision %d; revision %d was seen here", i.Last, v.revision)
	}
	return ""
}

// bySeq orders messages by number.
func bySeq(m map[string]Message) []Message {
	return slices.SortedFunc(maps.Values(m), func(a, b Message) int { return cmp.Compare(a.Seq, b.Seq) })
}
