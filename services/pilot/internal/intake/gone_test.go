package intake_test

import (
	"fmt"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

func entry(name string, deleted bool) bus.Entry {
	return bus.Entry{Key: bus.Key{Kind: "Rule", Namespace: "default", Name: name},
		Envelope: &busv1.Envelope{Object: &configv1.Object{Kind: "Rule"}, Deleted: deleted}}
}

// TestDeletedIsRemembered: what was deleted is told from what never was, as far back as
// the memory reaches; before that everything may have been.
func TestDeletedIsRemembered(t *testing.T) {
	k := intake.New(intake.Config{}, nil)
	k.Config(bus.Change{Reset: true, Revision: 10, Entries: []bus.Entry{entry("a", false), entry("b", false)}})
	k.Config(bus.Change{Revision: 12, Entries: []bus.Entry{entry("a", true), entry("b", true)}})
	k.Config(bus.Change{Revision: 13, Entries: []bus.Entry{entry("b", false)}})
	expect := func(name string, upTo uint64, want bool) {
		t.Helper()
		if got := k.Deleted(model.Ref{Kind: "Rule", Namespace: "default", Name: name}, upTo); got != want {
			t.Errorf("%s up to %d: got %v, want %v", name, upTo, got, want)
		}
	}
	expect("a", 12, true)
	expect("b", 13, false)
	expect("never", 13, false)
	expect("never", 10, true)
	var many []bus.Entry
	for i := range 10_001 {
		many = append(many, entry(fmt.Sprint(i), true))
	}
	k.Config(bus.Change{Revision: 20_000, Entries: many})
	expect("a", 20_000, true)
	expect("never", 20_001, false)
	k.Config(bus.Change{Reset: true, Revision: 3})
	expect("a", 4, false)
}
