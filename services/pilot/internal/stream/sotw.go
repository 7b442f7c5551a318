package stream

import (
	"slices"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// SotW brings the requests of one state-of-the-world stream into the form of delta
// ones: it remembers which names the proxy asked for last. Not for concurrent use.
type SotW struct {
	names [translate.Types]map[string]bool
}

// Request is what a proxy says with the whole list of names that it wants. An error says
// that they are too many; the stream is of no use after it.
//
// An empty list means everything, for clusters and listeners, if no name was ever
// given.
func (s *SotW) Request(t translate.Type, nonce, refusal string, names []string) (Request, error) {
	if err := countOf(t, len(names)); err != nil {
		return Request{}, err
	}
	r := Request{Type: t, Nonce: nonce, Refusal: refusal}
	before := s.names[t]
	if (t == translate.Cluster || t == translate.Listener) && len(names) == 0 && len(before) == 0 {
		r.Wildcard = true
	}
	now := make(map[string]bool, len(names))
	for _, n := range names {
		if !now[n] && !before[n] {
			r.Subscribe = append(r.Subscribe, n)
		}
		now[n] = true
	}
	for n := range before {
		if !now[n] {
			r.Unsubscribe = append(r.Unsubscribe, n)
		}
	}
	slices.Sort(r.Unsubscribe)
	s.names[t] = now
	return r, nil
}
