package decode

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// listKind is the kind of a document that holds others.
const listKind = "List"

// listVersions are the API versions of a List: ours, and that of Kubernetes, whose client
// makes one of whatever it was asked for.
var listVersions = []string{APIVersion, "v1"}

// document reads one document of the file, which may be a List of objects.
func (r *reader) document(doc *yaml.Node) []Decoded {
	r.label, r.places = "", map[string]place{}
	root, ok := r.enter(doc.Content[0], "", 0)
	if !ok || isNull(root) {
		return nil
	}
	nodes := []*yaml.Node{root}
	if isList(root) {
		nodes = r.items(root)
	}
	var out []Decoded
	for _, n := range nodes {
		if d, ok := r.object(n); ok {
			out = append(out, d)
		}
	}
	return out
}

func isList(root *yaml.Node) bool {
	if root.Kind != yaml.MappingNode {
		return false
	}
	for k, v := range pairs(root) {
		if k.Value == "kind" {
			return v.Kind == yaml.ScalarNode && v.Value == listKind
		}
	}
	return false
}

// items returns what a List holds.
func (r *reader) items(root *yaml.Node) []*yaml.Node {
	r.label = listKind
	there := map[string]bool{}
	var out []*yaml.Node
	for k, v := range r.once(root, "", asWritten) {
		there[k.Value] = true
		value, ok := r.enter(v, k.Value, 0)
		if !ok {
			return nil
		}
		switch k.Value {
		case "kind":
		case "apiVersion":
			if value.Kind != yaml.ScalarNode || !slices.Contains(listVersions, value.Value) {
				r.report(where(v), "apiVersion", "a List is of %s", strings.Join(listVersions, " or "))
			}
		case "metadata":
			r.nothing(k, unnamed(value), "a List has no metadata of its own")
		case "items":
			out = r.entries(value)
		default:
			r.report(where(k), quoteName(k.Value), "unknown field; a List has apiVersion, kind and items")
		}
	}
	for _, name := range []string{"apiVersion", "items"} {
		if !there[name] {
			r.report(where(root), name, "missing in a List")
		}
	}
	return out
}

// entries are the objects of a List.
func (r *reader) entries(n *yaml.Node) []*yaml.Node {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.report(where(n), "items", "want a list of objects, got %s", got(n))
		return nil
	}
	var out []*yaml.Node
	for i, item := range n.Content {
		entry, ok := r.enter(item, indexed("items", i), 1)
		switch {
		case !ok:
			return nil
		case isList(entry):
			r.report(where(entry), indexed("items", i), "a List in a List is not taken")
		default:
			out = append(out, entry)
		}
	}
	return out
}

// unnamed takes keys without text out of a mapping: Kubernetes writes them into Lists.
func unnamed(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return n
	}
	out := mappingNode()
	for k, v := range pairs(n) {
		if v.Kind != yaml.ScalarNode || v.Value != "" {
			out.Content = append(out.Content, k, v)
		}
	}
	return out
}

// nothing takes a value in which nothing is said, as servers print it: null or an empty
// mapping.
func (r *reader) nothing(k, n *yaml.Node, message string) {
	if !isNull(n) && (n.Kind != yaml.MappingNode || len(n.Content) > 0) {
		r.report(where(k), k.Value, "%s", message)
	}
}

// EncodeListJSON writes objects as one document in JSON, on one line: a List, which
// Documents reads as the same objects. Errors: an unknown kind.
func EncodeListJSON(objects []*configv1.Object) ([]byte, error) {
	doc, items := mappingNode(), &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	add(doc, "apiVersion", text(APIVersion))
	add(doc, "kind", text(listKind))
	for _, o := range objects {
		item, err := tree(o)
		if err != nil {
			return nil, err
		}
		items.Content = append(items.Content, item)
	}
	add(doc, "items", items)
	var b bytes.Buffer
	if err := writeJSON(&b, doc); err != nil {
		return nil, fmt.Errorf("encode a list: %w", err)
	}
	return b.Bytes(), nil
}
