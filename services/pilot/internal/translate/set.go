// Package translate turns the mesh into what Envoy is told. In: a model.Snapshot and
// the facts about one proxy. Out: named, encoded xDS resources. Each resource is built
// once and encoded once per snapshot, and taken over from the last snapshot when what
// it is made of did not change; all proxies of one view get the same bytes. It never
// talks to a proxy and never waits.
package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Type is a kind of xDS resource.
type Type uint8

// The types, in the order in which they are made: what is used before what uses it.
const (
	Cluster Type = iota
	Endpoint
	Listener
	Route
	Types // how many there are
)

var typeURLs = [Types]string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster",
	"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	"type.googleapis.com/envoy.config.listener.v3.Listener",
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
}

// URL returns the type's URL on the wire.
func (t Type) URL() string { return typeURLs[t] }

// TypeOf is the inverse of URL.
func TypeOf(url string) (Type, bool) {
	for t, u := range typeURLs {
		if u == url {
			return Type(t), true //nolint:gosec // four of them
		}
	}
	return 0, false
}

// Resource is one encoded xDS resource. Immutable and shared between proxies.
type Resource struct {
	Name string
	// Version is a hash of the bytes.
	Version string
	Body    *anypb.Any
	// Sources are the config objects that shaped it.
	Sources []model.Ref
}

// Wants is what one proxy is to have, by type and name.
type Wants [Types]map[string]*Resource

// Set makes the resources of one snapshot. Safe for concurrent use.
type Set struct {
	Snapshot *model.Snapshot
	mesh     Mesh

	mu   sync.Mutex // taken before that of prev
	made map[key]*entry
	prev *Set // of the snapshot before, until there is one after this
}

// key tells resources apart, also those of one name: proxies that have it made of different
// things get different ones.
type key struct {
	t Type
	// print is the fingerprint of what it is made of, apart from what view says.
	name, view, print string
}

// entry is a resource, when it is made.
type entry struct {
	once sync.Once
	res  *Resource
}

// NewSet returns the resources of snap. What has the same fingerprint in prev, which may
// be nil, is taken over. prev may go on being asked.
func NewSet(snap *model.Snapshot, mesh Mesh, prev *Set) *Set {
	if prev != nil {
		prev.mu.Lock()
		prev.prev = nil // only two are kept
		prev.mu.Unlock()
	}
	return &Set{Snapshot: snap, mesh: mesh, made: map[key]*entry{}, prev: prev}
}

// had returns what was made for a key, nil if nothing was or there is no Set.
func (s *Set) had(k key) *entry {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[k]
}

// get returns the resource with a name, made by build unless one with the same
// fingerprint is there.
func (s *Set) get(t Type, name, print string, build func() (proto.Message, []model.Ref)) *Resource {
	return s.view(t, name, "", print, build)
}

// view is get for a resource that depends on who asks in ways that the fingerprint does not
// have.
func (s *Set) view(t Type, name, view, print string, build func() (proto.Message, []model.Ref)) *Resource {
	k := key{t, name, view, print}
	s.mu.Lock()
	e := s.made[k]
	if e == nil {
		if e = s.prev.had(k); e == nil {
			e = &entry{}
		}
		s.made[k] = e
	}
	s.mu.Unlock()
	e.once.Do(func() { e.res = encode(name, build) })
	return e.res
}

func encode(name string, build func() (proto.Message, []model.Ref)) *Resource {
	m, sources := build()
	body := pack(m)
	sum := sha256.Sum256(body.Value)
	return &Resource{Name: name, Version: hex.EncodeToString(sum[:8]), Body: body, Sources: sources}
}

// pack encodes m the same way each time. Messages are of our own making, so that an
// error can only be our own mistake.
func pack(m proto.Message) *anypb.Any {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("encode %s: %v", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: b}
}

// hash is a short name for a view.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}
