package dns_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/dns"
)

func addrs(texts ...string) []netip.Addr {
	out := make([]netip.Addr, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParseAddr(t)
	}
	return out
}

func many(n int) []netip.Addr {
	out := make([]netip.Addr, n)
	for i := range out {
		out[i] = netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)})
	}
	return out
}

func table() *dns.Table {
	return dns.NewTable(map[string][]netip.Addr{
		"reviews.default.svc.cluster.local": addrs("10.78.0.4"),
		"ratings.prod.svc.cluster.local":    addrs("10.78.0.5"),
		"pods.default.svc.cluster.local":    addrs("10.77.1.1", "10.77.1.2", "10.77.1.3"),
		"dual.default.svc.cluster.local":    addrs("10.78.0.6", "fd00::6"),
		"idle.default.svc.cluster.local":    nil,
		"low.middle.prod.svc.cluster.local": addrs("10.78.0.8"),
		"big.default.svc.cluster.local":     many(200),
		"outside.example.com":               addrs("10.78.0.7"),
	}, "cluster.local", "default")
}

// ask makes a query. edns is the size offered, 0 for none.
func ask(name string, kind uint16, edns int) []byte {
	b := []byte{0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = append(b, 0, 1)
	if edns > 0 {
		b[11] = 1
		b = append(b, 0, 0, 41)
		b = binary.BigEndian.AppendUint16(b, uint16(edns))
		b = append(b, 0, 0, 0, 0, 0, 4, 0, 10, 0, 0) // with an empty cookie
	}
	return b
}

// answer is what a client makes of an answer.
type answer struct {
	code      int
	truncated bool
	addresses []string
	authority int
	edns      bool
}

// read reads an answer and checks what is the same in all of them.
func read(t *testing.T, query, b []byte) answer {
	t.Helper()
	if len(b) < 12 || b[0] != query[0] || b[1] != query[1] || b[2]&0x80 == 0 {
		t.Fatalf("answer %x to %x: no answer with its ID", b, query)
	}
	a := answer{code: int(b[3] & 15), truncated: b[2]&2 != 0}
	n := func(i int) int { return int(binary.BigEndian.Uint16(b[i:])) }
	if n(4) == 0 {
		return a
	}
	end := 12 + slices.Index(query[12:], 0) + 5
	if string(b[12:end]) != string(query[12:end]) {
		t.Errorf("question came back as %x, want %x", b[12:end], query[12:end])
	}
	a.authority = n(8)
	for range n(6) + n(8) + n(10) {
		switch { // the owner's name
		case b[end]&0xc0 != 0:
			end += 2
		default:
			end += slices.Index(b[end:], 0) + 1
		}
		kind, size := n(end), n(end+8)
		data := b[end+10 : end+10+size]
		end += 10 + size
		switch kind {
		case 1, 28:
			ip, _ := netip.AddrFromSlice(data)
			a.addresses = append(a.addresses, ip.String())
		case 41:
			a.edns = true
		}
	}
	if end != len(b) {
		t.Errorf("answer %x ends at %d", b, end)
	}
	return a
}

const (
	a, aaaa, mx, anything        = 1, 28, 15, 255
	fine, failure, unknown, deny = 0, 2, 3, 5
)

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		kind uint16
		code int
		want string
	}{
		{"reviews.default.svc.cluster.local", a, fine, "[10.78.0.4]"},
		{"REVIEWS.Default.svc.cluster.LOCAL", a, fine, "[10.78.0.4]"},
		{"reviews.default.svc", a, fine, "[10.78.0.4]"},
		{"reviews.default", a, fine, "[10.78.0.4]"},
		{"reviews", a, fine, "[10.78.0.4]"},
		{"ratings.prod", a, fine, "[10.78.0.5]"},
		{"outside.example.com", a, fine, "[10.78.0.7]"},
		{"reviews", aaaa, fine, "[]"},
		{"reviews", mx, fine, "[]"},
		{"dual", a, fine, "[10.78.0.6]"},
		{"dual", aaaa, fine, "[fd00::6]"},
		{"dual", anything, fine, "[10.78.0.6 fd00::6]"},
		{"idle", a, fine, "[]"},
		{"ratings", a, deny, "[]"}, // another namespace's
		{"ratings.default.svc.cluster.local", a, unknown, "[]"},
		{"cluster.local", a, fine, "[]"},
		{"svc.cluster.local", a, fine, "[]"},
		{"SVC.cluster.local", aaaa, fine, "[]"},
		{"default.svc.cluster.local", a, fine, "[]"},
		{"prod.svc.cluster.local", aaaa, fine, "[]"},
		{"middle.prod.svc.cluster.local", a, fine, "[]"},
		{"more.middle.prod.svc.cluster.local", a, unknown, "[]"},
		{"empty.svc.cluster.local", a, unknown, "[]"}, // no such namespace
		{"x.reviews.default.svc.cluster.local", a, unknown, "[]"},
		{"example.com", a, deny, "[]"}, // above a name of ours, but not ours
		{"reviews.default.svc.cluster.local.default.svc.cluster.local", a, unknown, "[]"},
		{"www.example.org", a, deny, "[]"},
		{"notcluster.local", a, deny, "[]"},
		{"4.0.78.10.in-addr.arpa", 12, deny, "[]"},
	} {
		for _, edns := range []int{0, 4096} {
			q := ask(c.name, c.kind, edns)
			got := read(t, q, dns.Answer(q, table(), dns.MaxUDP, 0))
			if got.code != c.code || fmt.Sprint(got.addresses) != c.want || got.truncated {
				t.Errorf("%s type %d: %+v, want code %d, %s", c.name, c.kind, got, c.code, c.want)
			}
			if got.edns != (edns > 0) {
				t.Errorf("%s: EDNS %v to a query with %v", c.name, got.edns, edns > 0)
			}
			if empty := c.want == "[]" && c.code != deny; empty != (got.authority == 1) {
				t.Errorf("%s type %d: %d records of authority", c.name, c.kind, got.authority)
			}
		}
	}
}

func TestAnEmptyMeshHasItsDomain(t *testing.T) {
	empty := dns.NewTable(nil, "cluster.local", "default")
	for name, want := range map[string]int{"cluster.local": fine, "svc.cluster.local": unknown} {
		q := ask(name, a, 0)
		if got := read(t, q, dns.Answer(q, empty, dns.MaxUDP, 0)); got.code != want {
			t.Errorf("%s: code %d, want %d", name, got.code, want)
		}
	}
}

// RFC 6891, 6.1.3: a version that is not known is answered BADVERS, 16, with ours.
func TestANewerEDNSIsToldOurVersion(t *testing.T) {
	for _, name := range []string{"reviews", "nobody.cluster.local", "www.example.org"} {
		q := ask(name, a, 1400)
		plain := len(q) - 4 // without the option
		q = q[:plain]
		binary.BigEndian.PutUint16(q[plain-2:], 0)
		q[plain-5] = 1 // version
		for _, table := range []*dns.Table{table(), nil} {
			b := dns.Answer(q, table, dns.MaxUDP, 0)
			got := read(t, q, b)
			opt := b[len(b)-11:]
			if got.code != 0 || len(got.addresses) > 0 || got.authority > 0 || !got.edns || opt[5] != 1 || opt[6] != 0 {
				t.Errorf("%s: code %d and %d in OPT, its version %d, %+v; want 0, 1, 0 and nothing else", name, got.code, opt[5], opt[6], got)
			}
		}
	}
}

func TestHeadlessNamesTakeTurns(t *testing.T) {
	q := ask("pods", a, 0)
	for turn, want := range []string{"[10.77.1.1 10.77.1.2 10.77.1.3]", "[10.77.1.2 10.77.1.3 10.77.1.1]", "[10.77.1.3 10.77.1.1 10.77.1.2]"} {
		if got := read(t, q, dns.Answer(q, table(), dns.MaxUDP, turn)); fmt.Sprint(got.addresses) != want {
			t.Errorf("turn %d: %v, want %s", turn, got.addresses, want)
		}
	}
}

func TestLongAnswersAreCutOverUDP(t *testing.T) {
	for _, c := range []struct{ edns, limit, most, least int }{
		{0, dns.MaxUDP, 512, 490}, {4096, dns.MaxUDP, dns.MaxUDP, 1210}, {700, dns.MaxUDP, 700, 680},
	} {
		q := ask("big", a, c.edns)
		b := dns.Answer(q, table(), c.limit, 0)
		if got := read(t, q, b); !got.truncated || len(b) > c.most || len(b) < c.least {
			t.Errorf("EDNS %d: %d bytes, truncated %v, want %d to %d, truncated", c.edns, len(b), got.truncated, c.least, c.most)
		}
	}
	q := ask("big", a, 0)
	if got := read(t, q, dns.Answer(q, table(), dns.MaxTCP, 0)); got.truncated || len(got.addresses) != 200 {
		t.Errorf("TCP: %d addresses, truncated %v, want 200", len(got.addresses), got.truncated)
	}
}

func TestBeforeTheFirstTable(t *testing.T) {
	q := ask("reviews", a, 0)
	if got := read(t, q, dns.Answer(q, nil, dns.MaxUDP, 0)); got.code != failure {
		t.Errorf("code %d, want %d", got.code, failure)
	}
}

func TestWhatIsNoQuery(t *testing.T) {
	query := ask("reviews", a, 0)
	spoil := func(at int, v byte) []byte {
		b := slices.Clone(query)
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		in   []byte
		code int // -1: no answer at all
	}{
		"short":              {query[:11], -1},
		"a response":         {spoil(2, 0x81), -1},
		"an update":          {spoil(2, 0x28), 4},
		"no question":        {spoil(5, 0), 1},
		"two questions":      {spoil(5, 2), 1},
		"cut in the name":    {query[:15], 1},
		"cut in the type":    {query[:len(query)-3], 1},
		"a pointer":          {spoil(12, 0xc0), 1},
		"record that is not": {spoil(11, 1), 1},
		"two OPT":            {twoOPT(), 1},
		"class CHAOS":        {spoil(len(query)-1, 3), 5},
		"name of 256 bytes":  {ask(strings.Repeat("a23456789.", 25)+"abcde", a, 0), 1},
	} {
		b := dns.Answer(c.in, table(), dns.MaxUDP, 0)
		switch {
		case c.code < 0 && b != nil:
			t.Errorf("%s: answered %x", name, b)
		case c.code >= 0 && (len(b) < 12 || int(b[3]&15) != c.code):
			t.Errorf("%s: %x, want code %d", name, b, c.code)
		}
	}
}

func twoOPT() []byte {
	q := ask("reviews", a, 1400)
	q[11] = 2
	return append(q, 0, 0, 41, 5, 0, 0, 0, 0, 0, 0, 0)
}

func FuzzAnswer(f *testing.F) {
	f.Add(ask("reviews", a, 0))
	f.Add(ask("big.default", anything, 1400))
	f.Add(ask("x.cluster.local", aaaa, 4096))
	tab := table()
	f.Fuzz(func(t *testing.T, q []byte) {
		for _, limit := range []int{dns.MaxUDP, dns.MaxTCP} {
			b := dns.Answer(q, tab, limit, len(q))
			if b == nil {
				continue
			}
			if len(b) < 12 || len(b) > limit || b[0] != q[0] || b[1] != q[1] || b[2]&0x80 == 0 {
				t.Errorf("%x answered with %x", q, b)
			}
			if again := dns.Answer(b, tab, limit, 0); again != nil {
				t.Errorf("the answer %x is answered with %x", b, again)
			}
		}
	})
}
