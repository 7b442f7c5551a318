package dns

import (
	"encoding/binary"
	"net/netip"
)

// Limits of an answer in bytes. UDP: what passes any network unfragmented (RFC 9715).
const (
	MaxUDP = 1232
	MaxTCP = 65535
)

// ttl is how long a client may keep an answer: an address stays for good, but the
// endpoints of a headless name come and go. In seconds.
const ttl = 5

// Answer returns the answer to a query, nil if none is due. t is nil before there was
// any table. limit is MaxUDP or MaxTCP; turn, when it counts up, deals a name's
// addresses out in turns.
func Answer(b []byte, t *Table, limit, turn int) []byte {
	q, ok, err := parse(b)
	switch {
	case !ok:
		return nil
	case err != nil:
		return q.header(codeFormat, 0).bytes
	case q.flags&maskOpcode != 0:
		return q.header(codeNotKnown, 0).bytes
	case q.edns && q.version > ednsVersion:
		return q.negative(codeVersion, nil)
	}
	if limit == MaxUDP {
		limit = min(limit, q.size)
	}
	if t == nil {
		return q.negative(codeFailure, nil)
	}
	if q.class != classIN && q.class != classANY {
		return q.negative(codeRefused, nil)
	}
	addresses, known := t.find(q.name)
	switch {
	case known:
		return q.positive(q.wanted(addresses), t, limit, turn)
	case t.leads(q.name):
		return q.negative(codeFine, t)
	case t.owns(q.name):
		return q.negative(codeNoName, t)
	default:
		return q.negative(codeRefused, nil)
	}
}

// wanted returns the addresses of the type that is asked for.
func (q query) wanted(all []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		if q.kind == typeANY || q.kind == typeA && a.Is4() || q.kind == typeAAAA && a.Is6() {
			out = append(out, a)
		}
	}
	return out
}

// reply is an answer that is being written.
type reply struct {
	bytes []byte
}

func (q query) header(code int, flags uint16) reply {
	b := make([]byte, 0, 512)
	b = binary.BigEndian.AppendUint16(b, q.id)
	// Recursion is said to be available: stub resolvers drop servers without it.
	b = binary.BigEndian.AppendUint16(b, bitResponse|q.flags&(maskOpcode|bitRecursion)|1<<7|flags|uint16(code&maskCode))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	return reply{b}
}

// Sections of a message, by their place in the header.
const (
	sectionQuestion   = 4
	sectionAnswer     = 6
	sectionAuthority  = 8
	sectionAdditional = 10
)

func (r *reply) count(section int) {
	n := binary.BigEndian.Uint16(r.bytes[section:])
	binary.BigEndian.PutUint16(r.bytes[section:], n+1)
}

func (r *reply) record(section int, name []byte, kind, class uint16, ttl uint32, data []byte) {
	r.count(section)
	r.bytes = append(r.bytes, name...)
	r.bytes = binary.BigEndian.AppendUint16(r.bytes, kind)
	r.bytes = binary.BigEndian.AppendUint16(r.bytes, class)
	r.bytes = binary.BigEndian.AppendUint32(r.bytes, ttl)
	r.bytes = binary.BigEndian.AppendUint16(r.bytes, uint16(len(data)))
	r.bytes = append(r.bytes, data...)
}

func (r *reply) ask(q query) {
	r.count(sectionQuestion)
	r.bytes = append(r.bytes, q.question...)
}

// opt answers EDNS with EDNS: root name, our size in the place of the class; in that of
// the time to live what of the code the header has no room for, our version, and no
// flags.
func (r *reply) opt(q query, code int) {
	if q.edns {
		r.record(sectionAdditional, []byte{0}, typeOPT, MaxUDP, uint32(code>>4)<<24|ednsVersion<<16, nil)
	}
}

// positive answers with as many addresses as there is room for, truncated if that is
// not all. A known name without addresses of the type is "no error", with nothing.
func (q query) positive(addresses []netip.Addr, t *Table, limit, turn int) []byte {
	if len(addresses) == 0 {
		return q.negative(codeFine, t)
	}
	r := q.header(codeFine, bitAuthoritative)
	r.ask(q)
	const optSize = 11
	for i := range addresses {
		a := addresses[(turn+i)%len(addresses)]
		kind := uint16(typeA)
		if a.Is6() {
			kind = typeAAAA
		}
		data := a.AsSlice()
		const fixed = 12 // pointer to the question's name, type, class, ttl, length
		if len(r.bytes)+fixed+len(data)+optSize > limit {
			flags := binary.BigEndian.Uint16(r.bytes[2:])
			binary.BigEndian.PutUint16(r.bytes[2:], flags|bitTruncated)
			break
		}
		r.record(sectionAnswer, []byte{0xc0, headerSize}, kind, classIN, ttl, data)
	}
	r.opt(q, codeFine)
	return r.bytes
}

// negative answers with a code and no data. With t, the SOA says for how long.
func (q query) negative(code int, t *Table) []byte {
	var flags uint16
	if t != nil {
		flags = bitAuthoritative
	}
	r := q.header(code, flags)
	r.ask(q)
	if t != nil {
		r.soa(t)
	}
	r.opt(q, code)
	return r.bytes
}

// soa is the mesh domain's start of authority; only its last number, for how long
// "there is nothing" may be kept, means anything.
func (r *reply) soa(t *Table) {
	owner := appendName(nil, t.domain)
	var data []byte
	data = appendName(data, "ns."+t.domain)
	data = appendName(data, "hostmaster."+t.domain)
	for _, seconds := range []uint32{1, 3600, 600, 86400, ttl} {
		data = binary.BigEndian.AppendUint32(data, seconds)
	}
	r.record(sectionAuthority, owner, typeSOA, classIN, ttl, data)
}
