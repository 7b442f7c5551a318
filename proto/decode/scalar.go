package decode

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Numbers as YAML and Go write them, but for those that YAML 1.1 and 1.2 read
// differently: 010 is eight to one and ten to the other.
var (
	decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	whole   = regexp.MustCompile(`^([-+]?(?:0|[1-9][0-9]*))(?:\.0*)?$`)
	real    = regexp.MustCompile(`^[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

func where(n *yaml.Node) place { return place{n.Line, n.Column} }

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func keyed(path, key string) string { return path + "[" + quoteName(key) + "]" }

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// shortQuote quotes a value of the document for a message.
func shortQuote(s string) string {
	if short := []rune(s); len(short) > 40 {
		s = string(short[:40]) + "…"
	}
	return strconv.Quote(s)
}

// got says what a node is.
func got(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.ShortTag() == "!!map":
		return "a mapping"
	case n.ShortTag() == "!!seq":
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	case n.ShortTag() == "!!bool":
		return n.Value
	case n.ShortTag() == "!!int" || n.ShortTag() == "!!float":
		return "the number " + n.Value
	case n.ShortTag() == "!!str" || n.ShortTag() == "!!timestamp":
		return "the text " + shortQuote(n.Value)
	}
	return "a value of the type " + quoteName(n.ShortTag())
}

// isText tells text from what only looks like it.
func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!str" || n.ShortTag() == "!!timestamp")
}

// isNumber accepts numbers and, as the JSON form of protobuf does, numbers in quotes.
func isNumber(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode &&
		(n.ShortTag() == "!!int" || n.ShortTag() == "!!float" || n.ShortTag() == "!!str")
}

// scalar decodes a single value of fd's type.
func (r *reader) scalar(n *yaml.Node, fd protoreflect.FieldDescriptor, path string) (protoreflect.Value, bool) {
	var v protoreflect.Value
	var wanted string
	switch fd.Kind() {
	case protoreflect.StringKind:
		v, wanted = str(n)
	case protoreflect.BoolKind:
		v, wanted = boolean(n)
	case protoreflect.EnumKind:
		return r.enum(n, fd.Enum(), path)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		v, wanted = float(n, fd.Kind())
	default:
		v, wanted = integer(n, fd.Kind())
	}
	if wanted != "" {
		r.report(where(n), path, "want %s, got %s", wanted, got(n))
		return v, false
	}
	return v, true
}

// str reads text; wanted is not empty if it is none.
func str(n *yaml.Node) (_ protoreflect.Value, wanted string) {
	switch {
	case isText(n):
		return protoreflect.ValueOfString(n.Value), ""
	case n.Kind == yaml.ScalarNode && !isNull(n):
		return protoreflect.Value{}, "text (put it in quotes)"
	}
	return protoreflect.Value{}, "text"
}

// boolean reads true or false; wanted is not empty if it is neither.
func boolean(n *yaml.Node) (_ protoreflect.Value, wanted string) {
	yes := strings.EqualFold(n.Value, "true")
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" && (yes || strings.EqualFold(n.Value, "false")) {
		return protoreflect.ValueOfBool(yes), ""
	}
	return protoreflect.Value{}, "true or false"
}

// integer reads a whole number; wanted is not empty if it is none.
func integer(n *yaml.Node, kind protoreflect.Kind) (_ protoreflect.Value, wanted string) {
	bits, signed := 64, true
	switch kind {
	case protoreflect.Int32Kind:
		bits = 32
	case protoreflect.Uint32Kind:
		bits, signed = 32, false
	case protoreflect.Uint64Kind:
		signed = false
	}
	bad := fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64)>>(64-bits))
	if signed {
		bad = fmt.Sprintf("a whole number from %d to %d", math.MinInt64>>(64-bits), math.MaxInt64>>(64-bits))
	}
	written := whole.FindStringSubmatch(n.Value)
	if !isNumber(n) || written == nil {
		if n.ShortTag() == "!!int" {
			bad += " in decimal digits"
		}
		return protoreflect.Value{}, bad
	}
	i, ierr := strconv.ParseInt(written[1], 10, bits)
	u, uerr := strconv.ParseUint(strings.TrimPrefix(written[1], "+"), 10, bits)
	switch {
	case signed && ierr != nil, !signed && uerr != nil:
		return protoreflect.Value{}, bad
	case kind == protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(i)), ""
	case kind == protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(u)), ""
	case kind == protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(u), ""
	}
	return protoreflect.ValueOfInt64(i), ""
}

// float reads a number; wanted is not empty if it is none.
func float(n *yaml.Node, kind protoreflect.Kind) (_ protoreflect.Value, wanted string) {
	bits := 64
	if kind == protoreflect.FloatKind {
		bits = 32
	}
	if isNumber(n) && real.MatchString(n.Value) {
		if f, err := strconv.ParseFloat(n.Value, bits); err == nil {
			if kind == protoreflect.FloatKind {
				return protoreflect.ValueOfFloat32(float32(f)), ""
			}
			return protoreflect.ValueOfFloat64(f), ""
		}
	}
	return protoreflect.Value{}, "a number such as 0.5"
}

// enum reads a value by its name, in either case, or by its number.
func (r *reader) enum(n *yaml.Node, ed protoreflect.EnumDescriptor, path string) (protoreflect.Value, bool) {
	if n.Kind == yaml.ScalarNode {
		if v := ed.Values().ByName(protoreflect.Name(strings.ToUpper(n.Value))); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
		if i, err := strconv.ParseInt(n.Value, 10, 32); err == nil && decimal.MatchString(n.Value) {
			if v := ed.Values().ByNumber(protoreflect.EnumNumber(i)); v != nil {
				return protoreflect.ValueOfEnum(v.Number()), true
			}
		}
	}
	var known []string
	for i := range ed.Values().Len() {
		// What stands for "not said" is said by leaving the field out.
		if name := string(ed.Values().Get(i).Name()); !strings.HasSuffix(name, "UNSPECIFIED") {
			known = append(known, name)
		}
	}
	r.report(where(n), path, "want one of %s, got %s", strings.Join(known, ", "), got(n))
	return protoreflect.Value{}, false
}

// duration reads "1.5s", and the other units of Go as well. A unit is required.
func (r *reader) duration(n *yaml.Node, m protoreflect.Message, path string) {
	if isText(n) && n.Value != "0" {
		if d, err := time.ParseDuration(n.Value); err == nil {
			p := durationpb.New(d).ProtoReflect()
			p.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				m.Set(fd, v)
				return true
			})
			return
		}
	}
	r.report(where(n), path, `want a duration with its unit, such as "1.5s" or "200ms", got %s`, got(n))
}
