package decode

import (
	"iter"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// field is one key of a mapping that is a field of a message.
type field struct {
	fd         protoreflect.FieldDescriptor
	key, value *yaml.Node
}

// enter follows an alias and keeps the limits. ok is false if reading must stop.
func (r *reader) enter(n *yaml.Node, path string, depth int) (_ *yaml.Node, ok bool) {
	if r.stopped {
		return nil, false
	}
	r.nodes++
	if r.nodes > maxNodes {
		r.stopped = true
		r.report(where(n), path, "the file has more than %d values, aliases counted as often as they are used", maxNodes)
		return nil, false
	}
	if depth > maxDepth {
		r.stopped = true
		r.report(where(n), path, "nested more than %d levels deep", maxDepth)
		return nil, false
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias, true
	}
	return n, true
}

// pairs ranges over the keys and values of a mapping, aliases not followed.
func pairs(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(k, v *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// once yields the pairs of a mapping whose keys can be read, each key the first time that
// it is there, and reports the others by the name that field gives to a key.
func (r *reader) once(n *yaml.Node, path string, field func(key string) string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(k, v *yaml.Node) bool) {
		first := map[string]*yaml.Node{}
		for k, v := range pairs(n) {
			if !r.key(k, path) {
				continue
			}
			if was, twice := first[k.Value]; twice {
				r.report(where(k), field(k.Value), "the key appears twice, first on line %d", was.Line)
				continue
			}
			first[k.Value] = k
			if !yield(k, v) {
				return
			}
		}
	}
}

// asWritten is the name of a key at the top of a document.
func asWritten(key string) string { return key }

// message decodes n, which is no alias, into m.
func (r *reader) message(n *yaml.Node, m protoreflect.Message, path string, depth int) {
	switch m.Descriptor().FullName() {
	case "google.protobuf.Duration":
		r.duration(n, m, path)
		return
	case "google.protobuf.FloatValue", "google.protobuf.BoolValue":
		fd := m.Descriptor().Fields().ByName("value")
		if v, ok := r.scalar(n, fd, path); ok {
			m.Set(fd, v)
		}
		return
	}
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		r.report(where(n), path, "want a mapping, got %s", got(n))
		return
	}
	for _, f := range r.fields(n, m.Descriptor(), path) {
		r.field(f, m, path+"."+f.fd.JSONName(), depth+1)
		if r.stopped {
			return
		}
	}
}

// fields finds the fields that the keys of n name, in the order of the message.
func (r *reader) fields(n *yaml.Node, md protoreflect.MessageDescriptor, path string) []field {
	sp := r.spellings[md.FullName()]
	first := map[protoreflect.Name]*yaml.Node{}
	oneofs := map[protoreflect.Name]*yaml.Node{}
	var out []field
	for k, v := range pairs(n) {
		fd, skip := r.lookup(k, md, sp, path)
		if skip {
			continue
		}
		if was, twice := first[fd.Name()]; twice {
			r.twice(was, k, path)
			continue
		}
		first[fd.Name()] = k
		if isNull(v) {
			continue
		}
		if oneof := fd.ContainingOneof(); oneof != nil {
			if was, twice := oneofs[oneof.Name()]; twice {
				r.report(where(k), path+"."+k.Value, "set together with %s on line %d; only one of them may be", was.Value, was.Line)
				continue
			}
			oneofs[oneof.Name()] = k
		}
		out = append(out, field{fd, k, v})
	}
	slices.SortStableFunc(out, func(a, b field) int { return a.fd.Index() - b.fd.Index() })
	return out
}

// twice reports a field that is there twice.
func (r *reader) twice(was, k *yaml.Node, path string) {
	if was.Value == k.Value {
		r.report(where(k), path+"."+k.Value, "the key appears twice, first on line %d", was.Line)
		return
	}
	r.report(where(k), path+"."+k.Value, "the same field as %s on line %d; keep one of the two spellings", was.Value, was.Line)
}

// lookup finds the field of one key. skip is true if there is nothing to decode.
func (r *reader) lookup(k *yaml.Node, md protoreflect.MessageDescriptor, sp spelling, path string) (_ protoreflect.FieldDescriptor, skip bool) {
	if !r.key(k, path) {
		return nil, true
	}
	name := k.Value
	if slices.Contains(sp.ignore, name) {
		return nil, true
	}
	if other, ok := sp.alias[name]; ok {
		name = other
	}
	fd := md.Fields().ByJSONName(name)
	if fd == nil {
		fd = md.Fields().ByName(protoreflect.Name(name))
	}
	if fd != nil && !slices.Contains(sp.hidden, string(fd.Name())) {
		return fd, false
	}
	var known []string
	for i := range md.Fields().Len() {
		if f := md.Fields().Get(i); !slices.Contains(sp.hidden, string(f.Name())) {
			known = append(known, f.JSONName())
		}
	}
	r.report(where(k), path+"."+quoteName(k.Value), "unknown field; %s", hint(k.Value, known))
	return nil, true
}

// key refuses what cannot be the name of anything.
func (r *reader) key(k *yaml.Node, path string) bool {
	switch {
	case k.Kind != yaml.ScalarNode:
		r.report(where(k), path, "a key is %s; keys are text", got(k))
	case k.ShortTag() == "!!merge":
		r.report(where(k), path, "merge keys (<<) are not taken; write the fields out")
	default:
		return true
	}
	return false
}

// field decodes the value of one field.
func (r *reader) field(f field, m protoreflect.Message, path string, depth int) {
	n, ok := r.enter(f.value, path, depth)
	if !ok {
		return
	}
	r.places[path] = where(f.key)
	if f.value.Kind == yaml.ScalarNode {
		r.places[path] = where(f.value)
	}
	switch {
	case f.fd.FullName() == "outrigger.config.v1.Handler.params":
		h := m.Interface().(*configv1.Handler)
		h.Params = r.params(n, AdapterParams(h.Adapter), path, depth)
	case f.fd.FullName() == "outrigger.config.v1.Instance.params":
		i := m.Interface().(*configv1.Instance)
		i.Params = r.params(n, TemplateParams(i.Template), path, depth)
	case f.fd.IsMap():
		r.mapping(n, m.Mutable(f.fd).Map(), f.fd, path, depth)
	case f.fd.IsList():
		r.list(n, m.Mutable(f.fd).List(), f.fd, path, depth)
	case f.fd.Message() != nil:
		r.message(n, m.Mutable(f.fd).Message(), path, depth)
	default:
		if v, ok := r.scalar(n, f.fd, path); ok {
			m.Set(f.fd, v)
		}
	}
}

// list decodes a sequence.
func (r *reader) list(n *yaml.Node, into protoreflect.List, fd protoreflect.FieldDescriptor, path string, depth int) {
	if n.Kind != yaml.SequenceNode || n.ShortTag() != "!!seq" {
		r.report(where(n), path, "want a list, got %s", got(n))
		return
	}
	for i, item := range n.Content {
		at := indexed(path, i)
		v, ok := r.value(item, into.NewElement(), fd, at, depth)
		if r.stopped {
			return
		}
		if ok {
			into.Append(v)
		}
	}
}

// mapping decodes a mapping with free keys.
func (r *reader) mapping(n *yaml.Node, into protoreflect.Map, fd protoreflect.FieldDescriptor, path string, depth int) {
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		r.report(where(n), path, "want a mapping, got %s", got(n))
		return
	}
	for k, item := range r.once(n, path, func(key string) string { return keyed(path, key) }) {
		var fresh protoreflect.Value
		if fd.MapValue().Message() != nil {
			fresh = into.NewValue()
		}
		v, ok := r.value(item, fresh, fd.MapValue(), keyed(path, k.Value), depth)
		if r.stopped {
			return
		}
		if ok {
			into.Set(protoreflect.ValueOfString(k.Value).MapKey(), v)
		}
	}
}

// value decodes one item of a list or mapping, a message into fresh.
func (r *reader) value(item *yaml.Node, fresh protoreflect.Value, fd protoreflect.FieldDescriptor, path string, depth int) (protoreflect.Value, bool) {
	n, ok := r.enter(item, path, depth+1)
	if !ok {
		return protoreflect.Value{}, false
	}
	r.places[path] = where(item)
	if fd.Message() == nil {
		return r.scalar(n, fd, path)
	}
	before := len(r.problems)
	r.message(n, fresh.Message(), path, depth+1)
	return fresh, len(r.problems) == before
}

// hint suggests what may have been meant.
func hint(word string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(known) == 0:
		return "there are none here"
	}
	return "known: " + strings.Join(known, ", ")
}

// distance is the number of letters to change, add, drop or leave out, for short words.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
