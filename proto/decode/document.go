package decode

import (
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// reader reads one file.
type reader struct {
	file, namespace string

	problems []*pilotv1.Problem
	dropped  int
	nodes    int
	stopped  bool // a limit was passed: the rest of the file is not looked at

	// Of the document in hand.
	label     string
	places    map[string]place
	spellings map[protoreflect.FullName]spelling
}

// spelling says which keys a mapping may have beside the fields of its message.
type spelling struct {
	alias  map[string]string // other names of fields
	ignore []string          // what servers add, without meaning here
	hidden []string          // fields that this API version does not have
}

// envelope is the top level of a document.
type envelope struct {
	apiVersion, kind, metadata, spec *yaml.Node
}

var metadataSpelling = spelling{
	alias: map[string]string{"resourceVersion": "revision"},
	ignore: []string{"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp",
		"generation", "managedFields", "origin", "selfLink", "uid"},
}

// istioRuleSpelling is that of the rule of Istio 0.2, which has less than ours.
var istioRuleSpelling = spelling{
	alias:  map[string]string{"selector": "match"},
	hidden: []string{"on_unavailable", "timeout", "written_match"},
}

// object reads one object. ok is false if it is too wrong to be one.
func (r *reader) object(root *yaml.Node) (d Decoded, ok bool) {
	r.label, r.places = "", map[string]place{}
	if root.Kind != yaml.MappingNode {
		r.report(where(root), "", "a document is a mapping with apiVersion, kind, metadata and spec; this is %s", got(root))
		return Decoded{}, false
	}
	e := r.envelope(root)
	f, istio, ok := r.form(root, e)
	meta := r.metadata(root, e)
	if !ok {
		return Decoded{}, false
	}
	o := &configv1.Object{Kind: f.kind, Metadata: meta, ApiVersion: e.apiVersion.Value}
	d = Decoded{Object: o, File: r.file, Line: root.Line, written: r.label, places: r.places}
	r.spellings = map[protoreflect.FullName]spelling{}
	if istio {
		r.spellings["outrigger.config.v1.Rule"] = istioRuleSpelling
	}
	NewSpec(o)
	if f.adapter != "" || f.template != "" {
		d.respell = []respelling{{"spec.params", "spec"}, {"spec.adapter", "kind"}, {"spec.template", "kind"}}
		meta.Name += "." + e.kind.Value
		r.istioParams(f, e.spec, o)
		return d, true
	}
	r.spec(e.spec, o)
	if istio && f.kind == "Rule" {
		r.istioRule(o.GetRule())
	}
	return d, true
}

// envelope takes the top level apart.
func (r *reader) envelope(root *yaml.Node) envelope {
	var e envelope
	slots := map[string]**yaml.Node{"apiVersion": &e.apiVersion, "kind": &e.kind, "metadata": &e.metadata, "spec": &e.spec}
	for k, v := range r.once(root, "", asWritten) {
		if slot, known := slots[k.Value]; known {
			value, ok := r.enter(v, k.Value, 0)
			if !ok {
				return e
			}
			*slot = value
			r.places[k.Value] = where(k)
			continue
		}
		if k.Value != "status" {
			r.report(where(k), quoteName(k.Value), "unknown field; a document has apiVersion, kind, metadata and spec")
			continue
		}
		value, ok := r.enter(v, k.Value, 0)
		if !ok {
			return e
		}
		r.nothing(k, value, "not taken: how an object is doing is not for a document to say; leave it out")
	}
	return e
}

// form finds out what kind of document this is, and makes the label of its problems.
func (r *reader) form(root *yaml.Node, e envelope) (f form, istio, ok bool) {
	for _, part := range []struct {
		name string
		node *yaml.Node
	}{{"apiVersion", e.apiVersion}, {"kind", e.kind}} {
		if part.node == nil || part.node.Kind != yaml.ScalarNode || part.node.ShortTag() != "!!str" {
			r.report(where(root), part.name, "missing or not text")
			return form{}, false, false
		}
	}
	kind := e.kind.Value
	r.label = quoteName(kind) + " " + r.peek(e.metadata)
	table := kinds
	switch e.apiVersion.Value {
	case APIVersion:
	case IstioAPIVersion:
		table, istio = istioKinds, true
	default:
		r.report(where(e.apiVersion), "apiVersion", "unknown apiVersion %q; want %s or %s",
			e.apiVersion.Value, APIVersion, IstioAPIVersion)
		return form{}, false, false
	}
	if f, ok = table[kind]; ok {
		return f, istio, true
	}
	switch {
	case strings.HasSuffix(kind, "List"):
		r.report(where(e.kind), "kind", "lists of one kind are not taken; write the items as documents separated by ---, or as items of the kind List")
	case istio && slices.Contains(later, kind):
		r.report(where(e.kind), "kind", "%s: not supported yet", kind)
	default:
		r.report(where(e.kind), "kind", "unknown kind %q; %s", kind, hint(kind, names(table)))
	}
	return form{}, false, false
}

// peek makes "namespace/name" before metadata is decoded.
func (r *reader) peek(metadata *yaml.Node) string {
	namespace, name := r.namespace, "?"
	if metadata != nil && metadata.Kind == yaml.MappingNode {
		for k, v := range pairs(metadata) {
			switch {
			case v.Kind != yaml.ScalarNode || v.Value == "":
			case k.Value == "namespace":
				namespace = quoteName(v.Value)
			case k.Value == "name":
				name = quoteName(v.Value)
			}
		}
	}
	return namespace + "/" + name
}

// quoteName keeps a label short and on one line, whatever was written.
func quoteName(s string) string {
	if len(s) > 253 || strings.ContainsFunc(s, func(c rune) bool { return c == ' ' || !unicode.IsPrint(c) }) {
		return shortQuote(s)
	}
	return s
}

// metadata decodes metadata and fills in the namespace.
func (r *reader) metadata(root *yaml.Node, e envelope) *configv1.Metadata {
	m := &configv1.Metadata{}
	if e.metadata == nil || isNull(e.metadata) {
		at := where(root)
		for _, key := range []string{"kind", "metadata"} {
			if found, ok := r.places[key]; ok {
				at = found
			}
		}
		r.report(at, "metadata", "missing; every object has metadata: {name: NAME}")
		m.Namespace = r.namespace
		return m
	}
	r.spellings = map[protoreflect.FullName]spelling{"outrigger.config.v1.Metadata": metadataSpelling}
	before := len(r.problems)
	r.message(e.metadata, m.ProtoReflect(), "metadata", 1)
	if m.Name == "" && len(r.problems) == before {
		r.report(r.places["metadata"], "metadata.name", "missing")
	}
	if m.Namespace == "" {
		m.Namespace = r.namespace
	}
	return m
}

// spec decodes the spec of our kinds and of Istio's routing kinds.
func (r *reader) spec(n *yaml.Node, o *configv1.Object) {
	if n != nil && !isNull(n) {
		r.message(n, o.ProtoReflect().Mutable(specField(o.Kind)).Message(), "spec", 1)
	}
	switch spec := o.Spec.(type) {
	case *configv1.Object_Handler:
		if spec.Handler.Adapter == "" || AdapterParams(spec.Handler.Adapter) == nil {
			r.oneOf("spec.adapter", spec.Handler.Adapter, Adapters())
		}
	case *configv1.Object_Instance:
		if spec.Instance.Template == "" || TemplateParams(spec.Instance.Template) == nil {
			r.oneOf("spec.template", spec.Instance.Template, Templates())
		}
	}
}

// oneOf reports a name that must be one of a few.
func (r *reader) oneOf(path, name string, of []string) {
	at := r.places["kind"]
	for _, p := range []string{"spec", path} {
		if found, ok := r.places[p]; ok {
			at = found
		}
	}
	if name == "" {
		r.report(at, path, "missing; want one of %s", strings.Join(of, ", "))
		return
	}
	r.report(at, path, "unknown %s %s; want one of %s",
		strings.TrimPrefix(path, "spec."), shortQuote(name), strings.Join(of, ", "))
}
