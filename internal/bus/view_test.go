package bus

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

func envelope(name string, deleted bool) *busv1.Envelope {
	return &busv1.Envelope{
		Object:  &configv1.Object{Kind: "Rule", Metadata: &configv1.Metadata{Namespace: "default", Name: name}},
		Deleted: deleted,
	}
}

func entry(name string, seq, revision uint64, deleted bool) Entry {
	e := envelope(name, deleted)
	return Entry{Key: KeyOf(e.GetObject()), Seq: seq, Revision: revision, Envelope: e}
}

func viewOf(identity string, revision uint64, entries ...Entry) *view {
	v := newView()
	v.identity, v.revision = identity, revision
	v.add(entries, time.Unix(0, 0))
	return v
}

func TestJudge(t *testing.T) {
	holds := viewOf("i", 10, entry("a", 9, 10, false))
	for name, c := range map[string]struct {
		v    *view
		info Info
		want string // part of the refusal; "" accepts
	}{
		"the same":                   {holds, Info{Identity: "i", Last: 10, Count: 1}, ""},
		"further on":                 {holds, Info{Identity: "i", Last: 12, Count: 3}, ""},
		"other identity":             {holds, Info{Identity: "j", Last: 99, Count: 9}, "another one"},
		"emptied":                    {holds, Info{Identity: "i", Last: 12}, "came back empty"},
		"gone back":                  {holds, Info{Identity: "i", Last: 9, Count: 9}, "went back to revision 9; revision 10"},
		"restoring":                  {holds, Info{Identity: "i", Last: 12, Count: 3, Restoring: true}, "being restored"},
		"restoring, nothing held":    {newView(), Info{Identity: "i", Last: 1, Count: 1, Restoring: true}, "being restored"},
		"no identity":                {newView(), Info{Last: 1, Count: 1}, "not made by a writer"},
		"nothing held, any bus":      {newView(), Info{Identity: "j", Last: 1, Count: 1}, ""},
		"only tombstones held":       {viewOf("i", 10, entry("a", 9, 10, true)), Info{Identity: "j"}, ""},
		"nothing held, an empty one": {newView(), Info{Identity: "j"}, ""},
	} {
		got := c.v.judge(c.info)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: judged %q, want %q", name, got, c.want)
		}
	}
}

func TestDecodeRefusesWhatIsNotOurs(t *testing.T) {
	good, err := proto.Marshal(envelope("a", false))
	if err != nil {
		t.Fatal(err)
	}
	path := Key{"Rule", "default", "a"}.Path()
	if _, err := decode(Message{Path: path, Seq: 3, Revision: 4, Value: good}); err != nil {
		t.Errorf("own message: %v", err)
	}
	for name, m := range map[string]Message{
		"path":           {Path: "rubbish", Seq: 3, Revision: 4, Value: good},
		"not protobuf":   {Path: path, Seq: 3, Revision: 4, Value: []byte(`{"type":"x"}`)},
		"empty":          {Path: path, Seq: 3, Revision: 4},
		"other's object": {Path: Key{"Rule", "default", "b"}.Path(), Seq: 3, Revision: 4, Value: good},
		"no position":    {Path: path, Seq: 3, Value: good},
	} {
		if e, err := decode(m); err == nil {
			t.Errorf("%s: taken as %v", name, e)
		}
	}
}

func TestAddTakesEachFactOnce(t *testing.T) {
	v := viewOf("i", 2, entry("a", 1, 2, false), entry("b", 2, 2, false))
	if got := v.add([]Entry{entry("a", 1, 2, false), entry("b", 2, 2, false)}, time.Unix(1, 0)); len(got) != 0 {
		t.Errorf("old entries are news: %v", got)
	}
	got := v.add([]Entry{entry("a", 3, 3, false), entry("a", 4, 5, true), entry("c", 5, 5, false)}, time.Unix(1, 0))
	want := []Entry{entry("a", 4, 5, true), entry("c", 5, 5, false)}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("news (-want +got):\n%s", d)
	}
	v.forget(time.Unix(1, 0))
	if len(v.dead) != 1 {
		t.Errorf("tombstone forgotten at once")
	}
	if v.forget(time.Unix(2, 0)); len(v.dead) != 0 {
		t.Errorf("tombstone not forgotten: %v", v.dead)
	}
}

func TestChangesLeadFromOldToNew(t *testing.T) {
	old := viewOf("i", 5, entry("same", 1, 1, false), entry("new version", 2, 2, false), entry("deleted", 3, 3, false), entry("vanished", 4, 4, false))
	v := viewOf("i", 9, entry("same", 1, 1, false), entry("deleted", 7, 7, true), entry("new version", 8, 8, false), entry("made", 9, 9, false))
	vanished := entry("vanished", 0, 9, true)
	want := []Entry{vanished, entry("deleted", 7, 7, true), entry("new version", 8, 8, false), entry("made", 9, 9, false)}
	if d := cmp.Diff(want, v.changes(old), protocmp.Transform()); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

func TestKeepIsReadBackOrRefused(t *testing.T) {
	v := viewOf("identity", 9, entry("a", 7, 9, false), entry("b", 9, 9, false), entry("gone", 8, 9, true))
	data, err := v.keep()
	if err != nil {
		t.Fatal(err)
	}
	back, err := parseKeep(data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(v.live, back.live, protocmp.Transform()); d != "" || back.identity != "identity" || back.revision != 9 {
		t.Errorf("read back as %s at %d (-want +got):\n%s", back.identity, back.revision, d)
	}
	for i := range data {
		bad := append([]byte(nil), data...)
		bad[i] ^= 1
		if _, err := parseKeep(bad); err == nil {
			t.Errorf("byte %d flipped: accepted", i)
		}
		if _, err := parseKeep(data[:i]); err == nil {
			t.Errorf("cut at %d: accepted", i)
		}
	}
}
