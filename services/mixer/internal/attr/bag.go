// Package attr holds the attributes of requests: as a client of mixer sent them, as
// Envoy's filters sent them, and with the facts of the registry laid over. In: wire
// messages. Out: values by name, and which of them an answer depended on. It evaluates
// nothing and does no I/O.
package attr

import (
	"maps"
	"strings"
)

// Bag is the attributes of one request, as sent. It does not change. The zero Bag is
// empty.
type Bag struct {
	values map[string]any
	entry  *Entry // if not nil, has the values
}

// NewBag returns a Bag of values of the Go types that rule.Source names. It keeps a
// copy of the map, not of the values.
func NewBag(values map[string]any) *Bag { return &Bag{values: maps.Clone(values)} }

// Value implements rule.Source. What was sent under the name target.x, from before
// Istio 0.2, is found as destination.x.
func (b *Bag) Value(name string) (any, bool) {
	if b.entry != nil {
		return b.entry.value(name)
	}
	if v, ok := b.values[name]; ok {
		return v, true
	}
	if rest, ok := strings.CutPrefix(name, "destination."); ok {
		v, ok := b.values["target."+rest]
		return v, ok
	}
	return nil, false
}

// Text returns a string attribute, "" if it is absent or no string.
func (b *Bag) Text(name string) string {
	v, _ := b.Value(name)
	s, _ := v.(string)
	return s
}
