// Package dns answers DNS queries from a table of names. In: the bytes of a query and
// a Table. Out: the bytes of the answer. It opens no socket and asks nobody else: a
// name that the table does not have is refused or denied at once.
//
// Source: RFC 1035 (messages), RFC 2308 (negative answers), RFC 6891 (EDNS), RFC 8482
// (queries for any type), RFC 8020 (names that only have others below them).
package dns

import (
	"encoding/binary"
	"errors"
)

// Types, classes and codes of the registries of RFC 6895.
const (
	typeA    = 1
	typeSOA  = 6
	typeAAAA = 28
	typeOPT  = 41
	typeANY  = 255

	classIN  = 1
	classANY = 255

	codeFine     = 0
	codeFormat   = 1
	codeFailure  = 2
	codeNoName   = 3
	codeNotKnown = 4
	codeRefused  = 5
	codeVersion  = 16
	maskCode     = 15 // what of a code is in the header; OPT has the rest

	ednsVersion = 0
)

const (
	headerSize = 12
	maxName    = 255 // bytes on the wire
)

// Bits of the second 16 bits of a header.
const (
	bitResponse      = 1 << 15
	maskOpcode       = 15 << 11
	bitAuthoritative = 1 << 10
	bitTruncated     = 1 << 9
	bitRecursion     = 1 << 8 // desired
)

// query is a message that asks one question.
type query struct {
	id       uint16
	flags    uint16
	question []byte // as it came: name, type, class
	name     string // lower case, labels joined by dots, without the last dot
	kind     uint16
	class    uint16
	edns     bool
	version  byte // of EDNS
	size     int  // that the client takes over UDP
}

var errFormat = errors.New("dns: not a query")

// parse reads a query. With ok false, no answer is due at all: what came is a
// response, or too short to have an ID. With an error, the answer is "format error".
func parse(b []byte) (q query, ok bool, err error) {
	if len(b) < headerSize {
		return query{}, false, nil
	}
	q.id = binary.BigEndian.Uint16(b)
	q.flags = binary.BigEndian.Uint16(b[2:])
	if q.flags&bitResponse != 0 {
		return query{}, false, nil
	}
	if q.flags&maskOpcode != 0 {
		return q, true, nil // answered by the opcode alone
	}
	count := func(i int) int { return int(binary.BigEndian.Uint16(b[4+2*i:])) }
	if count(0) != 1 {
		return q, true, errFormat
	}
	name, end, err := readName(b, headerSize)
	if err != nil || end+4 > len(b) {
		return q, true, errFormat
	}
	q.name = name
	q.question = b[headerSize : end+4]
	q.kind = binary.BigEndian.Uint16(b[end:])
	q.class = binary.BigEndian.Uint16(b[end+2:])
	q.size = 512
	err = q.readOPT(b, end+4, count(1)+count(2)+count(3))
	return q, true, err
}

// readOPT walks the other records, of which a query has an OPT or none.
func (q *query) readOPT(b []byte, at, records int) error {
	for range records {
		_, end, err := readName(b, at)
		if err != nil || end+10 > len(b) {
			return errFormat
		}
		at = end + 10 + int(binary.BigEndian.Uint16(b[end+8:]))
		if at > len(b) {
			return errFormat
		}
		if binary.BigEndian.Uint16(b[end:]) == typeOPT {
			if q.edns {
				return errFormat // RFC 6891, 6.1.1
			}
			q.edns, q.version = true, b[end+5]
			q.size = max(512, int(binary.BigEndian.Uint16(b[end+2:])))
		}
	}
	return nil
}

// readName reads an uncompressed name: a query has nothing before its first name that a
// pointer could lead to.
func readName(b []byte, at int) (name string, end int, err error) {
	var text []byte
	for begin := at; ; {
		if at >= len(b) || at-begin >= maxName {
			return "", 0, errFormat
		}
		n := int(b[at])
		at++
		if n == 0 {
			return string(text), at, nil
		}
		if n > 63 || at+n > len(b) {
			return "", 0, errFormat
		}
		if len(text) > 0 {
			text = append(text, '.')
		}
		for _, c := range b[at : at+n] {
			if c == '.' {
				c = 0 // a dot inside a label is no separator, and no name of ours has one
			}
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			text = append(text, c)
		}
		at += n
	}
}

// appendName writes a name that is known to be well-formed.
func appendName(b []byte, name string) []byte {
	for begin := 0; begin < len(name); {
		end := begin
		for end < len(name) && name[end] != '.' {
			end++
		}
		b = append(b, byte(end-begin))
		b = append(b, name[begin:end]...)
		begin = end + 1
	}
	return append(b, 0)
}
