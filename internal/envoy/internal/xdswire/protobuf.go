package xdswire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Wire types of the protobuf encoding that the messages here use.
const (
	typeVarint = 0
	typeI64    = 1
	typeBytes  = 2
	typeI32    = 5
)

// AppendBytes appends a length-delimited field: a string, bytes or a message. A nil
// or empty value is appended too; leave the call out for "unset".
func AppendBytes[T ~string | ~[]byte](b []byte, field int, v T) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|typeBytes)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// AppendVarint appends an integer, enum or bool field.
func AppendVarint(b []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3|typeVarint), v)
}

// AppendAny appends a google.protobuf.Any field.
func AppendAny(b []byte, field int, typeURL string, body []byte) []byte {
	return AppendBytes(b, field, AppendBytes(AppendBytes(nil, 1, typeURL), 2, body))
}

var errTruncated = errors.New("protobuf: message ends inside a field")

// fields calls f for each length-delimited field of a message, in order, and skips
// the others. What f gets is a part of b.
func fields(b []byte, f func(field int, v []byte) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errors.New("protobuf: bad tag")
		}
		b = b[n:]
		v, size, err := value(b, int(tag&7))
		if err != nil {
			return err
		}
		b = b[size:]
		if tag&7 != typeBytes {
			continue
		}
		if err := f(int(tag>>3), v); err != nil {
			return err
		}
	}
	return nil
}

// value returns the content of a length-delimited value, and the size of any value.
func value(b []byte, wireType int) ([]byte, int, error) {
	switch wireType {
	case typeVarint:
		if _, n := binary.Uvarint(b); n > 0 {
			return nil, n, nil
		}
	case typeI64:
		if len(b) >= 8 {
			return nil, 8, nil
		}
	case typeI32:
		if len(b) >= 4 {
			return nil, 4, nil
		}
	case typeBytes:
		l, n := binary.Uvarint(b)
		if n > 0 && l <= uint64(len(b)-n) {
			return b[n : n+int(l)], n + int(l), nil
		}
	default:
		return nil, 0, fmt.Errorf("protobuf: wire type %d", wireType)
	}
	return nil, 0, errTruncated
}
