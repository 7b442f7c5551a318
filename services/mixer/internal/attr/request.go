package attr

import (
	"cmp"
	"maps"
	"slices"

	"github.com/outrigger-mesh/outrigger/internal/rule"
)

// Overlay is facts laid over what was sent.
type Overlay struct {
	// Values by attribute; nil hides what was sent.
	Values map[string]any
	// Inputs are the sent attributes that the facts were found by: who reads a fact
	// depends on them.
	Inputs []string
}

// Reference is one thing that an answer depended on.
type Reference struct {
	Name string
	// Key is the key that was read, if Keyed; otherwise the attribute as a whole.
	Key     string
	Keyed   bool
	Present bool
}

// Request is a Bag with facts laid over it that notes what is read. It belongs to one
// goroutine.
type Request struct {
	bag      *Bag
	overlays []Overlay
	seen     map[Reference]struct{} // nil: nothing is noted
}

// NewRequest lays overlays over bag; earlier ones win.
func NewRequest(bag *Bag, overlays ...Overlay) *Request {
	return &Request{bag: bag, overlays: overlays, seen: map[Reference]struct{}{}}
}

// Unnoted returns a Request that notes nothing, for answers that nobody keeps.
func Unnoted(bag *Bag, overlays ...Overlay) *Request {
	return &Request{bag: bag, overlays: overlays}
}

// Bag returns the attributes as sent.
func (r *Request) Bag() *Bag { return r.bag }

// Value implements rule.Source.
func (r *Request) Value(name string) (any, bool) {
	for _, o := range r.overlays {
		v, ok := o.Values[name]
		if !ok {
			continue
		}
		if r.seen == nil {
			return v, v != nil
		}
		for _, input := range o.Inputs {
			_, present := r.bag.Value(input)
			r.note(Reference{Name: input, Present: present})
		}
		return v, v != nil
	}
	v, ok := r.bag.Value(name)
	if r.seen == nil {
		return v, ok
	}
	if m, isMap := v.(map[string]string); ok && isMap {
		return tracked{r, name, m}, true
	}
	r.note(Reference{Name: name, Present: ok})
	return v, ok
}

func (r *Request) note(ref Reference) { r.seen[ref] = struct{}{} }

// Text returns a string attribute, "" if it is absent or no string.
func (r *Request) Text(name string) string {
	v, _ := r.Value(name)
	s, _ := v.(string)
	return s
}

// Referenced returns what was read, sorted, each once; nothing of an Unnoted request.
func (r *Request) Referenced() []Reference {
	return slices.SortedFunc(maps.Keys(r.seen), func(a, b Reference) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key), compareBool(a.Keyed, b.Keyed))
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// tracked is a map that notes which keys are read.
type tracked struct {
	r    *Request
	name string
	m    map[string]string
}

var _ rule.Keyed = tracked{}

func (t tracked) Lookup(key string) (string, bool) {
	v, ok := t.m[key]
	t.r.note(Reference{Name: t.name, Key: key, Keyed: true, Present: ok})
	return v, ok
}

func (t tracked) Keys() []string {
	t.r.note(Reference{Name: t.name, Present: true})
	return slices.Collect(maps.Keys(t.m))
}
