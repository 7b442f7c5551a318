// Package stream decides what one proxy is sent next. In: what it is to have, and what
// it says. Out: responses, each when everything it depends on is in force. It has no
// goroutine, no clock and no connection; package xds carries its answers.
//
// The order is make before break. Clusters and their endpoints are sent first and must
// be accepted, which Envoy does only when they are warm. Then come listeners and
// routes. What is not wanted any more is removed last: clusters only when routes and
// listeners without them are in force, and Linger later, so that requests that were
// given a cluster before that still find it.
//
// Source: xDS protocol, https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol.
package stream

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// MaxPart bounds the bodies in one response to a delta proxy, in bytes, unless a single
// one is larger. It is what gRPC takes without being told, far below what ours takes.
const MaxPart = 4 << 20

// Linger is how long a cluster outlives the last route to it. It is longer than
// requests commonly wait in a filter before the router takes their cluster.
const Linger = 15 * time.Second

// Response is one answer.
type Response struct {
	Type  translate.Type
	Nonce string
	// Revision of the config that the answer is made of; see Config.Announce.
	Revision uint64
	// Upserts are new or changed; Removed are gone.
	Upserts []*translate.Resource
	Removed []string
	// Full is the whole state of the type, for the state-of-the-world protocol.
	Full []*translate.Resource
}

// Refusal is a type of which the proxy did not take the last response.
type Refusal struct {
	Type translate.Type
	// Names were in the refused response.
	Names   []string
	Message string
}

// Config is what a Machine needs to know of its proxy.
type Config struct {
	// Announce keeps the proxy itself informed of what it has: the version of its
	// clusters and listeners is the revision of which it has everything in force. It
	// costs two empty responses for each revision, so it is for the few proxies that are
	// asked. Without it, the version is the revision that the response is made of.
	Announce bool
	// Delta is set if a response holds only what changed. Then what is too much for one is
	// sent in parts, each when the one before is answered, and an answer is about what was
	// in the response and nothing else.
	Delta bool
}

// Machine is what one proxy was told and what it said. Not for concurrent use.
type Machine struct {
	cfg      Config
	wants    *translate.Wants
	revision uint64
	acked    uint64
	whole    bool // the proxy has had all of wants in force
	nonce    uint64
	types    [translate.Types]state
	// doomed clusters, with the moment at which they may go.
	doomed map[string]time.Time
}

// state is one type of one proxy.
type state struct {
	asked    bool
	answered bool
	wildcard bool
	names    map[string]bool
	sent     map[string]sent
	pending  string // nonce of the response under way
	inside   []string
	refused  []Refusal
	said     uint64 // the revision in the last response
}

// sent is what the proxy was told of a name. The zero value says that there is no such
// resource: who asked goes on waiting for it, and gets it when there is one.
type sent struct {
	version string
	res     *translate.Resource // nil if sent by an earlier stream
}

// New returns a machine for a proxy that was told nothing yet.
func New(cfg Config) *Machine {
	m := &Machine{cfg: cfg, doomed: map[string]time.Time{}}
	for t := range m.types {
		m.types[t].names, m.types[t].sent = map[string]bool{}, map[string]sent{}
	}
	return m
}

// Want sets what the proxy is to have as of a config revision.
func (m *Machine) Want(w *translate.Wants, revision uint64) {
	m.wants, m.revision, m.whole = w, revision, false
	for t := range m.types {
		m.types[t].retry(w[t])
	}
}

// Acknowledged is the newest revision of which the proxy has everything in force; 0 for
// none. It never falls.
func (m *Machine) Acknowledged() uint64 { return m.acked }

// Settled reports whether the proxy has had in force all that it is to have since the
// last Want. Next finds out.
func (m *Machine) Settled() bool { return m.whole }

// Refusals lists what the proxy did not take and still lacks.
func (m *Machine) Refusals() []Refusal {
	var out []Refusal
	for t := range m.types {
		out = append(out, m.types[t].refused...)
	}
	return out
}

// Next returns what is to be sent now, and when to ask again if nothing happens before;
// the zero time for never.
func (m *Machine) Next(now time.Time) ([]Response, time.Time) {
	if m.wants == nil {
		return nil, time.Time{}
	}
	var out []Response
	out = m.send(out, translate.Cluster, nil)
	out = m.send(out, translate.Endpoint, nil)
	// What is sent goes before what is sent later; endpoints whose turn has not come
	// would arrive behind the routes to them.
	if behind, _ := m.changed(translate.Endpoint); m.settled(translate.Cluster) && len(behind) == 0 {
		out = m.send(out, translate.Listener, m.removed(translate.Listener))
		out = m.send(out, translate.Route, nil)
	}
	if m.inForce() {
		m.acked, m.whole = max(m.acked, m.revision), true
	}
	due, wake := m.due(now)
	if due != nil {
		out = m.send(out, translate.Cluster, due)
	}
	return m.announce(out), wake
}

// announced are the types whose version tells the proxy what it has.
func announced(t translate.Type) bool { return t == translate.Cluster || t == translate.Listener }

// announce appends responses that say nothing but the revision, if all of it is in force.
func (m *Machine) announce(out []Response) []Response {
	if !m.cfg.Announce || !m.whole {
		return out
	}
	for t := range m.types {
		st := &m.types[t]
		if t := translate.Type(t); announced(t) && st.answered && st.pending == "" && len(st.refused) == 0 && st.said < m.acked { //nolint:gosec // four types
			out = append(out, m.respond(t, nil, nil))
		}
	}
	return out
}

// send appends a response of type t, if there is something to say and nothing of the
// type is under way.
func (m *Machine) send(out []Response, t translate.Type, removed []string) []Response {
	st := &m.types[t]
	if !st.asked || st.pending != "" {
		return out
	}
	all, missing := m.changed(t)
	upserts := m.part(all)
	removed = append(removed, missing...)
	if len(upserts) < len(all) {
		removed = nil // what goes, goes with the last part
	}
	if len(upserts) == 0 && len(removed) == 0 && st.answered {
		return out
	}
	st.inside = nil
	for _, res := range upserts {
		st.sent[res.Name] = sent{res.Version, res}
		st.inside = append(st.inside, res.Name)
		if t == translate.Cluster {
			// A changed cluster warms anew, and waits for its endpoints.
			delete(m.types[translate.Endpoint].sent, res.Name)
		}
	}
	for _, name := range removed {
		delete(st.sent, name)
		if st.names[name] {
			st.sent[name] = sent{}
		}
		delete(m.doomed, name)
	}
	return append(out, m.respond(t, upserts, removed))
}

// part is as much of upserts as one response may hold.
func (m *Machine) part(upserts []*translate.Resource) []*translate.Resource {
	if !m.cfg.Delta {
		return upserts
	}
	size := 0
	for i, res := range upserts {
		if size += len(res.Body.GetValue()); size > MaxPart && i > 0 {
			return upserts[:i]
		}
	}
	return upserts
}

// respond makes the response of type t that is under way from now on.
func (m *Machine) respond(t translate.Type, upserts []*translate.Resource, removed []string) Response {
	st := &m.types[t]
	m.nonce++
	r := Response{Type: t, Nonce: strconv.FormatUint(m.nonce, 10), Revision: m.revision, Upserts: upserts, Removed: removed}
	if m.cfg.Announce && announced(t) {
		r.Revision = m.acked
	}
	for _, s := range st.sent {
		if s.res != nil {
			r.Full = append(r.Full, s.res)
		}
	}
	slices.SortFunc(r.Full, byName)
	st.pending, st.answered, st.said = r.Nonce, true, r.Revision
	return r
}

func byName(a, b *translate.Resource) int { return cmp.Compare(a.Name, b.Name) }

// changed returns what the proxy asked for and has not, and the names it asked for that
// do not exist and that it was never told of.
func (m *Machine) changed(t translate.Type) (upserts []*translate.Resource, missing []string) {
	st := &m.types[t]
	for name, res := range m.wants[t] {
		if (st.wildcard || st.names[name]) && st.sent[name].version != res.Version {
			upserts = append(upserts, res)
		}
	}
	slices.SortFunc(upserts, byName)
	for name := range st.names {
		if _, exists := m.wants[t][name]; exists {
			continue
		}
		if _, told := st.sent[name]; !told {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return upserts, missing
}

// removed lists what the proxy has and is not to have.
func (m *Machine) removed(t translate.Type) []string {
	var out []string
	for name, s := range m.types[t].sent {
		if _, wanted := m.wants[t][name]; !wanted && s != (sent{}) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// settled reports whether the proxy took everything of a type that it asked for.
func (m *Machine) settled(t translate.Type) bool {
	st := &m.types[t]
	if st.pending != "" || len(st.refused) > 0 || !st.answered {
		return false
	}
	upserts, _ := m.changed(t)
	return len(upserts) == 0
}

// inForce reports whether the proxy has all that it is to have.
func (m *Machine) inForce() bool {
	for t := range m.types {
		st := &m.types[t]
		if st.pending != "" || len(st.refused) > 0 {
			return false
		}
		if !st.answered && len(m.wants[t]) > 0 {
			return false
		}
		for name, res := range m.wants[t] {
			if st.sent[name].version != res.Version {
				return false
			}
		}
	}
	return true
}

// due returns the clusters whose time has come, and when the next one's will.
func (m *Machine) due(now time.Time) (names []string, wake time.Time) {
	for name := range m.doomed {
		if _, wanted := m.wants[translate.Cluster][name]; wanted {
			delete(m.doomed, name)
		}
	}
	if !m.settled(translate.Listener) || !m.settled(translate.Route) && len(m.wants[translate.Route]) > 0 {
		return nil, time.Time{}
	}
	for _, name := range m.removed(translate.Cluster) {
		at, ok := m.doomed[name]
		if !ok {
			at = now.Add(Linger)
			m.doomed[name] = at
		}
		if !at.After(now) {
			names = append(names, name)
		} else if wake.IsZero() || at.Before(wake) {
			wake = at
		}
	}
	if m.types[translate.Cluster].pending != "" {
		names = nil
	}
	return names, wake
}
