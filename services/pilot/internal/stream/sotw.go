package stream

import (
	"slices"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// SotW brings the requests of one state-of-the-world stream into the form of delta
// ones: it remembers which names the proxy asked for last. Not for concurrent use.
type SotW struct {
	names [translate.Types][]string
}

// Request is what a proxy says with the whole list of names that it wants.
//
// An empty list means everything, for clusters and listeners, if no name was ever
// given.
func (s *SotW) Request(t translate.Type, nonce, refusal string, names []string) Request {
	r := Request{Type: t, Nonce: nonce, Refusal: refusal}
	if (t == translate.Cluster || t == translate.Listener) && len(names) == 0 && len(s.names[t]) == 0 {
		r.Wildcard = true
	}
	for _, n := range names {
		if !slices.Contains(s.names[t], n) {
			r.Subscribe = append(r.Subscribe, n)
		}
	}
	for _, n := range s.names[t] {
		if !slices.Contains(names, n) {
			r.Unsubscribe = append(r.Unsubscribe, n)
		}
	}
	s.names[t] = slices.Clone(names)
	return r
}
