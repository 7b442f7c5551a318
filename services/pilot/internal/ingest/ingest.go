// Package ingest decides which documents become objects. In: decoded documents, what is
// to be deleted, and the world as it is. Out: the changes that lead to the world as it
// would be, or every reason why not. It writes nothing, reads no clock, and never
// accepts a part of what it was given.
//
// A field that nothing acts on yet is refused by its name, never taken silently.
package ingest

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// MaxObjects is how many objects one Input may write and delete.
const MaxObjects = decode.MaxObjects

// Settings are what all checks depend on beside the world.
type Settings struct {
	// Domain ends every service's host name.
	Domain string
	// Addresses is the range of the services' virtual addresses; any if not valid.
	Addresses netip.Prefix
	// Ingress is the host name under which the ingress gateway is a caller; it is no
	// Service.
	Ingress string
}

// Entry is one object of the world.
type Entry struct {
	// Object has its revision and origin in its metadata. It is shared: not changed.
	Object *configv1.Object
	// Seq is what a write is based on.
	Seq uint64
	// Address is the virtual address that a Service was given, if it did not ask for one.
	Address string
}

// View is the world at one moment. It is not changed once it is made.
type View map[model.Ref]Entry

// Input is what shall be changed, all or nothing.
type Input struct {
	Documents []decode.Decoded
	Deletes   []model.Ref
	// Named are the documents that name what is to be deleted, as far as there are any:
	// their metadata.revision is what the deletion is based on.
	Named map[model.Ref]decode.Decoded
	// Origin is where the objects come from: "api" or "file:<path>". An object of
	// another origin is not touched.
	Origin string
	// Adopts are objects of another origin that this one takes over, because they are
	// no longer kept there.
	Adopts map[model.Ref]bool
}

// Change is one write.
type Change struct {
	// Object as it is to be kept: without revision and origin. For a deletion kind and
	// metadata only.
	Object *configv1.Object
	Action pilotv1.Applied_Action
	// BasedOn is the Seq of the entry that is replaced, 0 if there is none.
	BasedOn uint64
	// Before is the entry that is replaced.
	Before Entry
}

// Plan is what an Input leads to.
type Plan struct {
	// Changes in the order of the Input, deletions last. UNCHANGED ones are among them
	// and need no write.
	Changes []Change
	// Warnings are what was accepted and may still be a mistake.
	Warnings []*pilotv1.Problem
}

// Refusal says why nothing of an Input is accepted. Kind is Invalid, Conflict, NotFound,
// Exhausted or Precondition.
type Refusal struct {
	Kind     fault.Kind
	Problems []*pilotv1.Problem
}

// How much is told of what is wrong: an answer has its reasons in a header.
const (
	maxProblems = 100
	maxText     = 1 << 10 // bytes of one
)

// Told is what to say of problems: the first hundred, and how many more there are; none of
// them is longer than a person reads.
func Told(problems []*pilotv1.Problem) []*pilotv1.Problem {
	var out []*pilotv1.Problem
	for i, p := range problems {
		if i == maxProblems {
			return append(out, &pilotv1.Problem{Message: fmt.Sprintf("and %d more", len(problems)-i)})
		}
		if len(p.GetMessage()) > maxText {
			p = proto.CloneOf(p)
			p.Message = strings.ToValidUTF8(p.GetMessage()[:maxText], "") + " … (cut)"
		}
		out = append(out, p)
	}
	return out
}

// Error gives the first reason and how many more there are.
func (r *Refusal) Error() string {
	if len(r.Problems) == 0 {
		return r.Kind.String()
	}
	p := r.Problems[0]
	text := p.GetMessage()
	for _, part := range []string{p.GetField(), p.GetObject()} {
		if part != "" {
			text = part + ": " + text
		}
	}
	if n := len(r.Problems) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// report takes a mistake in a field of the object in hand.
type report func(field, format string, args ...any)

// checker is one Check at work.
type checker struct {
	settings Settings
	in       Input
	view     View
	next     map[model.Ref]*configv1.Object // the world as it would be
	incoming map[model.Ref]decode.Decoded
	index    index
	language *rule.Language
	refusal  Refusal
	warnings []*pilotv1.Problem
}

// tooMany names the first document of n objects that is one too many, if it is a document.
func tooMany(documents []decode.Decoded, n int) *pilotv1.Problem {
	const text = "%d objects at once; at most %d are taken"
	if len(documents) <= MaxObjects {
		return &pilotv1.Problem{Message: fmt.Sprintf(text, n, MaxObjects)}
	}
	return documents[MaxObjects].Problem("", text+", and this is the next one", n, MaxObjects)
}

// Check decides about an Input. The refusal is nil if and only if there is a plan.
// Objects of the Input are not changed.
func Check(settings Settings, view View, in Input) (*Plan, *Refusal) {
	if n := len(in.Documents) + len(in.Deletes); n > MaxObjects {
		return nil, &Refusal{fault.Exhausted, []*pilotv1.Problem{tooMany(in.Documents, n)}}
	}
	in.Documents = slices.Clone(in.Documents)
	c := &checker{settings: settings, in: in, view: view, next: map[model.Ref]*configv1.Object{}, incoming: map[model.Ref]decode.Decoded{}}
	for ref, e := range view {
		c.next[ref] = e.Object
	}
	steps := []func(){c.collect, c.remove, c.revisions, c.languages,
		c.translate, c.forms, c.lookup, c.links, c.used}
	for _, step := range steps {
		if step(); len(c.refusal.Problems) > 0 {
			return nil, c.refused()
		}
	}
	return c.plan(), nil
}

// refused sorts the reasons by place.
func (c *checker) refused() *Refusal {
	slices.SortStableFunc(c.refusal.Problems, func(a, b *pilotv1.Problem) int {
		if a.GetFile() != b.GetFile() {
			return 0 // files stay in their order
		}
		return cmp.Or(cmp.Compare(a.GetLine(), b.GetLine()), cmp.Compare(a.GetColumn(), b.GetColumn()))
	})
	return &c.refusal
}

// refuse notes a reason; the first one decides the kind.
func (c *checker) refuse(kind fault.Kind, p *pilotv1.Problem) {
	if len(c.refusal.Problems) == 0 {
		c.refusal.Kind = kind
	}
	c.refusal.Problems = append(c.refusal.Problems, p)
}

// on reports into a document.
func (c *checker) on(d decode.Decoded) report {
	return func(field, format string, args ...any) {
		c.refuse(fault.Invalid, d.Problem(field, format, args...))
	}
}

// warn notes what may be a mistake.
func (c *checker) warn(d decode.Decoded) report {
	return func(field, format string, args ...any) {
		c.warnings = append(c.warnings, d.Problem(field, format, args...))
	}
}

// collect finds the objects, each once and each ours to change.
func (c *checker) collect() {
	for i, d := range c.in.Documents {
		d.Object = proto.CloneOf(d.Object)
		decode.NewSpec(d.Object)
		c.warnings = append(c.warnings, d.Warnings...)
		ref := model.RefOf(d.Object)
		if first, twice := c.incoming[ref]; twice {
			c.on(d)("metadata.name", "%s is here twice, first in %s", ref, position(first))
			continue
		}
		c.in.Documents[i], c.incoming[ref], c.next[ref] = d, d, d.Object
		if e, ok := c.view[ref]; ok && !c.unchanged(e, d.Object) {
			c.owned(e, c.on(d))
		}
	}
}

// unchanged reports whether a write says what is there already. A file that says so of
// another's object would be a second home of it, which is a mistake all the same. What
// is taken over changes hands.
func (c *checker) unchanged(e Entry, o *configv1.Object) bool {
	fromFile := strings.HasPrefix(c.in.Origin, "file:")
	return !c.in.Adopts[model.RefOf(o)] && (e.Object.GetMetadata().GetOrigin() == c.in.Origin || !fromFile) && same(e.Object, o)
}

func position(d decode.Decoded) string {
	if d.File == "" {
		return fmt.Sprintf("line %d", d.Line)
	}
	return fmt.Sprintf("%s, line %d", d.File, d.Line)
}

// owned refuses to change what another origin keeps.
func (c *checker) owned(e Entry, say report) {
	origin := e.Object.GetMetadata().GetOrigin()
	if origin == c.in.Origin || c.in.Adopts[model.RefOf(e.Object)] {
		return
	}
	if path, ok := strings.CutPrefix(origin, "file:"); ok {
		say("metadata.name", "comes from the file %s; change it there", path)
		return
	}
	if strings.HasPrefix(c.in.Origin, "file:") {
		say("metadata.name", "exists already and does not come from a file (origin %s); delete it first", origin)
		return
	}
	say("metadata.name", "comes from %s; it is changed there", origin)
}

// remove takes what is to be deleted out of the world.
func (c *checker) remove() {
	for _, ref := range c.in.Deletes {
		e, ok := c.view[ref]
		switch _, written := c.incoming[ref]; {
		case !ok:
			c.refuse(fault.NotFound, c.deletion(ref, "", "does not exist"))
		case written:
			c.refuse(fault.Invalid, c.deletion(ref, "", "to be written and to be deleted at once"))
		default:
			c.owned(e, func(_, format string, args ...any) {
				c.refuse(fault.Precondition, c.deletion(ref, "", format, args...))
			})
			delete(c.next, ref)
		}
	}
}

// deletion is a reason against deleting ref, with its place if a document names it.
func (c *checker) deletion(ref model.Ref, field, format string, args ...any) *pilotv1.Problem {
	if d := c.in.Named[ref]; d.File != "" {
		return d.Problem(field, format, args...)
	}
	return &pilotv1.Problem{Object: ref.String(), Field: field, Message: fmt.Sprintf(format, args...)}
}

// forms checks each document by itself.
func (c *checker) forms() {
	for _, d := range c.in.Documents {
		c.form(d)
	}
}

// links checks what the documents refer to.
func (c *checker) links() {
	for _, d := range c.in.Documents {
		c.link(d.Object, c.on(d), c.warn(d))
	}
}

// revisions refuses writes and deletions that are based on what is no longer there.
func (c *checker) revisions() {
	for _, d := range c.in.Documents {
		want := d.Object.GetMetadata().GetRevision()
		if want == 0 {
			continue
		}
		e, ok := c.view[model.RefOf(d.Object)]
		now := e.Object.GetMetadata().GetRevision()
		switch {
		case !ok:
			c.refuse(fault.Conflict, d.Problem("metadata.revision", "based on revision %d; the object is no longer there", want))
		case now != want:
			c.refuse(fault.Conflict, d.Problem("metadata.revision", "based on revision %d; the object is at revision %d: get it and change that", want, now))
		}
	}
	for _, ref := range c.in.Deletes {
		want, now := c.in.Named[ref].Object.GetMetadata().GetRevision(), c.view[ref].Object.GetMetadata().GetRevision()
		if want != 0 && now != want {
			c.refuse(fault.Conflict, c.deletion(ref, "metadata.revision",
				"based on revision %d; the object is at revision %d: get it and look at it before you delete it", want, now))
		}
	}
}

// plan makes the changes.
func (c *checker) plan() *Plan {
	p := &Plan{Warnings: Told(c.warnings)}
	for _, d := range c.in.Documents {
		d.Object.Metadata.Revision, d.Object.Metadata.Origin = 0, ""
		e, ok := c.view[model.RefOf(d.Object)]
		change := Change{Object: d.Object, Action: pilotv1.Applied_CREATED}
		if ok {
			change.Before, change.BasedOn, change.Action = e, e.Seq, pilotv1.Applied_UPDATED
			if c.unchanged(e, d.Object) {
				change.Action = pilotv1.Applied_UNCHANGED
			}
		}
		p.Changes = append(p.Changes, change)
	}
	for _, ref := range c.in.Deletes {
		e := c.view[ref]
		p.Changes = append(p.Changes, Change{
			Object: &configv1.Object{Kind: ref.Kind, ApiVersion: e.Object.GetApiVersion(), Metadata: &configv1.Metadata{Namespace: ref.Namespace, Name: ref.Name}},
			Action: pilotv1.Applied_DELETED, BasedOn: e.Seq, Before: e,
		})
	}
	return p
}

// same compares what an author writes.
func same(a, b *configv1.Object) bool {
	plain := func(o *configv1.Object) *configv1.Object {
		out := proto.CloneOf(o)
		out.ApiVersion, out.Metadata.Revision, out.Metadata.Origin = "", 0, ""
		return out
	}
	return proto.Equal(plain(a), plain(b))
}

// sortedRefs returns the names of a world in a fixed order.
func sortedRefs(world map[model.Ref]*configv1.Object) []model.Ref {
	return slices.SortedFunc(maps.Keys(world), model.Ref.Compare)
}
