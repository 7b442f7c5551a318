package stream

import (
	"slices"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// MaxNames bounds how many resources of one type a stream may ask for. A proxy has one
// cluster for each port of each service, so it is many times what a mesh has, and what a
// stream makes pilot remember stays small.
const MaxNames = 50_000

// MaxName bounds the length of a name and of a version, in bytes. Names are made of DNS
// names, of which none has more than 253.
const MaxName = 1 << 10

// Request is what a proxy says, in the terms of delta xDS. A state-of-the-world request
// is brought into this form by SotW.
type Request struct {
	Type translate.Type
	// Nonce of the response that this one is about, "" for none.
	Nonce string
	// Refusal is the proxy's own words for why it did not take the response.
	Refusal     string
	Subscribe   []string
	Unsubscribe []string
	// Wildcard asks for everything of the type.
	Wildcard bool
	// Versions is what the proxy has from an earlier stream, name to version.
	Versions map[string]string
}

// Handle takes in what the proxy says. An error says that it asks for more than it may;
// the machine is of no use after it.
func (m *Machine) Handle(r Request) error {
	st := &m.types[r.Type]
	if err := r.fits(); err != nil {
		return err
	}
	if r.Nonce != "" && r.Nonce == st.pending {
		st.pending = ""
		m.answered(r)
	}
	if !st.asked {
		st.asked = true
		m.remember(r)
	}
	st.wildcard = st.wildcard || r.Wildcard
	for _, name := range r.Unsubscribe {
		delete(st.names, name)
		// With a wildcard the proxy keeps what there is.
		if !st.wildcard || st.sent[name] == (sent{}) {
			delete(st.sent, name)
		}
	}
	for _, name := range r.Subscribe {
		// A name that is asked for again is a name that the proxy lacks.
		if _, fresh := r.Versions[name]; !fresh {
			delete(st.sent, name)
		}
		st.names[name] = true
	}
	return countOf(r.Type, len(st.names))
}

// answered notes what the proxy made of the response under way.
func (m *Machine) answered(r Request) {
	st := &m.types[r.Type]
	refused := st.refused
	st.refused = nil
	if m.cfg.Delta {
		st.refused = without(refused, st.inside)
	}
	if r.Refusal != "" {
		st.refused = append(st.refused, Refusal{r.Type, st.inside, r.Refusal})
	}
}

// without returns what is left of the refusals when there is an answer about names.
func without(refused []Refusal, names []string) []Refusal {
	if len(refused) == 0 {
		return nil
	}
	again := map[string]bool{}
	for _, name := range names {
		again[name] = true
	}
	var out []Refusal
	for _, r := range refused {
		left := slices.DeleteFunc(slices.Clone(r.Names), func(name string) bool { return again[name] })
		if len(left) > 0 {
			out = append(out, Refusal{r.Type, left, r.Message})
		}
	}
	return out
}

// retry forgets a refusal if something that was in the refused response has changed.
// Of such a response the proxy may have taken parts, so what it has is not known.
func (st *state) retry(wants map[string]*translate.Resource) {
	same := func(name string) bool { return wants[name] != nil && wants[name].Version == st.sent[name].version }
	st.refused = slices.DeleteFunc(st.refused, func(r Refusal) bool {
		if !slices.ContainsFunc(r.Names, func(name string) bool { return !same(name) }) {
			return false
		}
		for _, name := range r.Names {
			st.sent[name] = sent{version: "unknown"}
		}
		return true
	})
}

// remember notes what the proxy has from an earlier stream.
func (m *Machine) remember(r Request) {
	changed := map[string]bool{}
	if r.Type == translate.Endpoint {
		// A cluster that this stream has changed waits for its endpoints anew.
		for _, name := range m.types[translate.Cluster].inside {
			changed[name] = true
		}
	}
	for name, v := range r.Versions {
		if !changed[name] {
			m.types[r.Type].sent[name] = sent{version: v}
		}
	}
}

// fits refuses a request that has more in it than a machine remembers.
func (r Request) fits() error {
	if err := countOf(r.Type, max(len(r.Subscribe), len(r.Versions))); err != nil {
		return err
	}
	longest := 0
	for _, name := range r.Subscribe {
		longest = max(longest, len(name))
	}
	for name, version := range r.Versions {
		longest = max(longest, len(name), len(version))
	}
	if longest > MaxName {
		return fault.Exhausted.Errorf("a name or version of %s has %d bytes, at most %d may be", r.Type.URL(), longest, MaxName)
	}
	return nil
}

// countOf refuses a number of names.
func countOf(t translate.Type, n int) error {
	if n > MaxNames {
		return fault.Exhausted.Errorf("%d names of %s are asked for, at most %d may be", n, t.URL(), MaxNames)
	}
	return nil
}
