package envoy

import (
	"slices"
	"strconv"

	"github.com/outrigger-mesh/outrigger/internal/envoy/internal/xdswire"
	"github.com/outrigger-mesh/outrigger/internal/identity"
)

// subscription is the state of one SDS stream: what Envoy wants and what it was sent.
// It is a value machine without I/O; not for concurrent use.
type subscription struct {
	delta bool
	names []string          // wanted, in the order asked for
	sent  map[string]string // name to version
	count int               // responses so far, the last one's nonce
}

// maxNames bounds the subscription of a peer that is not the Envoy we started.
const maxNames = 64

// request takes a request in. The names it returns must be sent (again) whatever was
// sent before; refused is what Envoy says against the last response, with ok false.
func (s *subscription) request(r xdswire.Request) (refused string, ok bool) {
	if s.delta {
		s.names = slices.DeleteFunc(s.names, func(n string) bool { return slices.Contains(r.Unsubscribe, n) })
		for _, n := range r.Unsubscribe {
			delete(s.sent, n)
		}
		for _, n := range r.Names {
			delete(s.sent, n) // asked for (again): answered (again)
			if !slices.Contains(s.names, n) && len(s.names) < maxNames {
				s.names = append(s.names, n)
			}
		}
	} else {
		s.names = r.Names[:min(len(r.Names), maxNames)]
		for n := range s.sent {
			if !slices.Contains(s.names, n) {
				delete(s.sent, n)
			}
		}
	}
	return r.Refused, !r.IsRefusal
}

// next returns the response that is due, if any. A refused version is not sent again:
// only a newer one is. Names that there is no secret of are told of once, as removed,
// which only a delta can say.
func (s *subscription) next(c *identity.Certificate) (xdswire.Response, bool) {
	if c == nil {
		return xdswire.Response{}, false
	}
	var all []xdswire.Resource
	var removed []string
	due := false
	for _, name := range s.names {
		res, ok := secret(name, c)
		version, told := s.sent[name]
		switch {
		case !ok && !told && s.delta:
			removed = append(removed, name)
		case ok && (!told || version != res.Version):
			due = true
			all = append(all, res)
		case ok && !s.delta: // the state of the world is always whole
			all = append(all, res)
		}
		s.sent[name] = res.Version
	}
	if !due && len(removed) == 0 {
		return xdswire.Response{}, false
	}
	s.count++
	res := xdswire.Response{TypeURL: secretType, Nonce: strconv.Itoa(s.count), Resources: all, Removed: removed}
	// The version names the content, not the response: it must mean the same to an
	// Envoy that comes from a stream of an earlier process.
	for _, r := range all {
		res.Version += r.Version
	}
	return res, true
}
