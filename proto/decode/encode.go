package decode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Encode writes an object as the YAML document that Documents reads as the same object:
// keys in lowerCamelCase and in the order of the contract, nothing that is unset,
// metadata.origin left out. Routing kinds keep their API version; mixer kinds of Istio
// come out as ours, which is what they are once accepted, with a comment that says so.
// Errors: an unknown kind.
func Encode(o *configv1.Object) ([]byte, error) {
	doc, err := tree(o)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.GetKind(), err)
	}
	return b.Bytes(), enc.Close()
}

// EncodeJSON is Encode in JSON, on one line.
func EncodeJSON(o *configv1.Object) ([]byte, error) {
	doc, err := tree(o)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := writeJSON(&b, doc); err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.GetKind(), err)
	}
	return b.Bytes(), nil
}

func tree(o *configv1.Object) (*yaml.Node, error) {
	fd := specField(o.GetKind())
	if fd == nil {
		return nil, fmt.Errorf("encode: unknown kind %q", o.GetKind())
	}
	version := APIVersion
	if _, both := istioKinds[o.Kind]; both && o.GetApiVersion() == IstioAPIVersion {
		version = IstioAPIVersion
	}
	doc := mappingNode()
	add(doc, "apiVersion", text(version))
	if o.GetApiVersion() == IstioAPIVersion && version != IstioAPIVersion {
		doc.Content[0].HeadComment = "# written in " + IstioAPIVersion
	}
	add(doc, "kind", text(o.Kind))
	meta := messageNode(o.GetMetadata().ProtoReflect())
	add(doc, "metadata", without(meta, "origin"))
	spec := messageNode(o.ProtoReflect().Get(fd).Message())
	add(doc, "spec", spec)
	return doc, nil
}

func without(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			break
		}
	}
	return n
}

func mappingNode() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"} }

func add(n *yaml.Node, key string, value *yaml.Node) {
	if len(value.Content) == 0 && value.Kind != yaml.ScalarNode {
		value.Style = yaml.FlowStyle
	}
	n.Content = append(n.Content, text(key), value)
}

// seconds is the form of durations, which no YAML takes for a number.
var seconds = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?s$`)

// text makes a string, in quotes unless nobody could take it for anything else.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case plain(s), seconds.MatchString(s):
	case strings.ContainsAny(s, `"\\`) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }):
		n.Style = yaml.SingleQuotedStyle
	default:
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// plain is true for words that begin with a letter and are no constant of any YAML.
func plain(s string) bool {
	switch s {
	case "", "y", "Y", "n", "N", "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF",
		"true", "True", "TRUE", "false", "False", "FALSE", "null", "Null", "NULL":
		return false
	}
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		other := '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '/'
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return true
}

// constant makes a value whose text cannot be taken for anything else.
func constant(tag, s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: s}
}

func number(f float64, bits int) *yaml.Node {
	s := strconv.FormatFloat(f, 'g', -1, bits)
	if decimal.MatchString(s) {
		return constant("!!int", s)
	}
	return constant("!!float", s)
}

func messageNode(m protoreflect.Message) *yaml.Node {
	switch v := m.Interface().(type) {
	case *durationpb.Duration:
		return text(writeDuration(v))
	case *structpb.Struct:
		return structNode(v)
	}
	if name := m.Descriptor().FullName(); name == "google.protobuf.FloatValue" || name == "google.protobuf.BoolValue" {
		fd := m.Descriptor().Fields().ByName("value")
		return scalarNode(fd, m.Get(fd))
	}
	out := mappingNode()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		add(out, fd.JSONName(), fieldNode(fd, m.Get(fd)))
	}
	return out
}

func fieldNode(fd protoreflect.FieldDescriptor, v protoreflect.Value) *yaml.Node {
	switch {
	case fd.IsList():
		out := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := range v.List().Len() {
			out.Content = append(out.Content, singleNode(fd, v.List().Get(i)))
		}
		return out
	case fd.IsMap():
		items := map[string]protoreflect.Value{}
		v.Map().Range(func(k protoreflect.MapKey, item protoreflect.Value) bool {
			items[k.String()] = item
			return true
		})
		out := mappingNode()
		for _, k := range slices.Sorted(maps.Keys(items)) {
			add(out, k, singleNode(fd.MapValue(), items[k]))
		}
		return out
	}
	return singleNode(fd, v)
}

func singleNode(fd protoreflect.FieldDescriptor, v protoreflect.Value) *yaml.Node {
	if fd.Message() == nil {
		return scalarNode(fd, v)
	}
	n := messageNode(v.Message())
	if len(n.Content) == 0 && n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle
	}
	return n
}

func scalarNode(fd protoreflect.FieldDescriptor, v protoreflect.Value) *yaml.Node {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return text(v.String())
	case protoreflect.BoolKind:
		return constant("!!bool", strconv.FormatBool(v.Bool()))
	case protoreflect.EnumKind:
		if known := fd.Enum().Values().ByNumber(v.Enum()); known != nil {
			return text(string(known.Name()))
		}
		return constant("!!int", strconv.Itoa(int(v.Enum())))
	case protoreflect.FloatKind:
		return number(v.Float(), 32)
	case protoreflect.DoubleKind:
		return number(v.Float(), 64)
	}
	return constant("!!int", v.String())
}

func structNode(s *structpb.Struct) *yaml.Node {
	out := mappingNode()
	for _, k := range slices.Sorted(maps.Keys(s.GetFields())) {
		add(out, k, valueNode(s.Fields[k]))
	}
	return out
}

func valueNode(v *structpb.Value) *yaml.Node {
	switch v := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return text(v.StringValue)
	case *structpb.Value_BoolValue:
		return constant("!!bool", strconv.FormatBool(v.BoolValue))
	case *structpb.Value_NumberValue:
		return number(v.NumberValue, 64)
	case *structpb.Value_StructValue:
		return structNode(v.StructValue)
	case *structpb.Value_ListValue:
		out := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v.ListValue.GetValues() {
			out.Content = append(out.Content, valueNode(item))
		}
		return out
	}
	return constant("!!null", "null")
}

// writeDuration writes seconds with as many decimals as it takes: "1.5s".
func writeDuration(d *durationpb.Duration) string {
	v := d.AsDuration()
	sign, abs := "", uint64(v)
	if v < 0 {
		sign, abs = "-", -uint64(v)
	}
	whole, nanos := abs/uint64(time.Second), abs%uint64(time.Second)
	out := sign + strconv.FormatUint(whole, 10)
	if nanos != 0 {
		out += string(bytes.TrimRight(fmt.Appendf(nil, ".%09d", nanos), "0"))
	}
	return out + "s"
}

func writeJSON(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		return writeItems(b, n)
	}
	if n.Tag != "!!str" {
		b.WriteString(n.Value)
		return nil
	}
	quoted, err := json.Marshal(n.Value)
	if err == nil {
		b.Write(quoted)
	}
	return err
}

// writeItems writes a list or a mapping.
func writeItems(b *bytes.Buffer, n *yaml.Node) error {
	open, end := byte('['), byte(']')
	if n.Kind == yaml.MappingNode {
		open, end = '{', '}'
	}
	b.WriteByte(open)
	for i, item := range n.Content {
		switch {
		case i > 0 && n.Kind == yaml.MappingNode && i%2 == 1:
			b.WriteByte(':')
		case i > 0:
			b.WriteByte(',')
		}
		if err := writeJSON(b, item); err != nil {
			return err
		}
	}
	b.WriteByte(end)
	return nil
}
