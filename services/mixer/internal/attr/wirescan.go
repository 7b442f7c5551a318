package attr

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// path is the fields that lead from a message to a field in it.
type path []field

// field is what its values are preceded by: what has the number and another type is none
// of them.
type field struct {
	number protowire.Number
	kind   protowire.Type // BytesType or VarintType
}

// pathTo is the path by the fields' names. It panics when there is none, or the last
// field's values have a fixed size.
func pathTo(m proto.Message, names ...protoreflect.Name) path {
	var out path
	in := m.ProtoReflect().Descriptor()
	for _, name := range names {
		f := in.Fields().ByName(name)
		out, in = append(out, field{f.Number(), wireType(f.Kind())}), f.Message()
	}
	return out
}

func wireType(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.MessageKind, protoreflect.StringKind, protoreflect.BytesKind:
		return protowire.BytesType
	case protoreflect.EnumKind, protoreflect.BoolKind, protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Int32Kind, protoreflect.Int64Kind:
		return protowire.VarintType
	}
	panic("attr: no way to read a field of kind " + kind.String())
}

// found is a field's value: bytes, or a number.
type found struct {
	bytes  []byte
	number uint64
}

// scan calls take with the values of a field of an encoded message, in order, up to where
// the message is malformed.
func scan(message []byte, wanted field, take func(found)) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		var v found
		switch kind {
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return
		}
		message = message[n:]
		if (field{number, kind}) == wanted {
			take(v)
		}
	}
}

// find returns the last value at a path, as a parser that takes one value would.
func find(message []byte, at path) (out found, ok bool) {
	for _, step := range at {
		ok = false
		scan(message, step, func(v found) { out, ok = v, true })
		if !ok {
			return found{}, false
		}
		message = out.bytes
	}
	return out, ok
}

// each calls f with every value of the repeated field at the end of a path.
func each(message []byte, at path, f func([]byte)) {
	end := len(at) - 1
	scan(messageAt(message, at[:end]), at[end], func(v found) { f(v.bytes) })
}

// messageAt returns the encoded message at a path, which may be empty; nil if it is not
// there.
func messageAt(message []byte, at path) []byte {
	if len(at) == 0 {
		return message
	}
	v, _ := find(message, at)
	return v.bytes
}

func textAt(message []byte, at path) string {
	v, _ := find(message, at)
	return text(v.bytes)
}

// text is bytes that should be UTF-8 and may be what somebody put into a header.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

func numberAt(message []byte, at path) uint64 {
	v, _ := find(message, at)
	return v.number
}

// Where things are in the entry of a map of texts, in Timestamp and in Duration.
var (
	mapKey       = path{{1, protowire.BytesType}}
	mapValue     = path{{2, protowire.BytesType}}
	wholeSeconds = path{{1, protowire.VarintType}}
	nanos        = path{{2, protowire.VarintType}}
)

// eachOfMap calls f with every key and value of a map of texts.
func eachOfMap(message []byte, at path, f func(k, v []byte)) {
	each(message, at, func(pair []byte) {
		f(messageAt(pair, mapKey), messageAt(pair, mapValue))
	})
}

// entryOfMap returns the text under a key, "" if there is none.
func entryOfMap(message []byte, at path, key string) string {
	var out string
	eachOfMap(message, at, func(k, v []byte) {
		if string(k) == key {
			out = text(v)
		}
	})
	return out
}

func timeOf(message []byte) (any, bool) {
	s, ns := parts(message)
	t := timestamppb.Timestamp{Seconds: s, Nanos: ns}
	if t.CheckValid() != nil {
		return nil, false
	}
	return t.AsTime(), true
}

func durationOf(message []byte) (time.Duration, bool) {
	s, ns := parts(message)
	d := durationpb.Duration{Seconds: s, Nanos: ns}
	return d.AsDuration(), d.CheckValid() == nil
}

func parts(message []byte) (seconds int64, nano int32) {
	return int64(numberAt(message, wholeSeconds)), int32(numberAt(message, nanos))
}
