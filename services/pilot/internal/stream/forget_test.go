package stream

import (
	"fmt"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// What a proxy asked for in vain and does not ask for any more leaves nothing behind, be
// there a wildcard or not. White box: nothing but memory shows it.
func TestUnsubscribedNamesAreForgotten(t *testing.T) {
	for _, wildcard := range []bool{false, true} {
		m := New(Config{})
		var w translate.Wants
		w[translate.Cluster] = map[string]*translate.Resource{"a": {Name: "a", Version: "1"}}
		m.Want(&w, 1)
		say := func(r Request) {
			t.Helper()
			if err := m.Handle(r); err != nil {
				t.Fatal(err)
			}
			responses, _ := m.Next(time.Unix(1000, 0))
			for _, res := range responses {
				if err := m.Handle(Request{Type: res.Type, Nonce: res.Nonce}); err != nil {
					t.Fatal(err)
				}
			}
		}
		say(Request{Wildcard: wildcard, Subscribe: []string{"a"}})
		for i := range 100 {
			name := []string{fmt.Sprint("none", i)}
			say(Request{Subscribe: name})
			say(Request{Unsubscribe: name})
		}
		if st := m.types[translate.Cluster]; len(st.sent) != 1 || len(st.names) != 1 {
			t.Errorf("wildcard %v: %d are remembered and %d asked for, want one and one", wildcard, len(st.sent), len(st.names))
		}
	}
}
