package dns

import (
	"net/netip"
	"strings"
)

// Table holds the names of the mesh. Immutable, and safe for concurrent use.
type Table struct {
	hosts     map[string][]netip.Addr
	between   map[string]struct{} // names in the domain that only lead to hosts
	domain    string              // "cluster.local"
	namespace string              // of the workload that asks
}

// NewTable returns a table of hosts, whose keys are fully qualified, lower case, and
// without the last dot; it keeps the map. domain is the mesh's, namespace the asking
// workload's.
func NewTable(hosts map[string][]netip.Addr, domain, namespace string) *Table {
	t := &Table{hosts: hosts, between: map[string]struct{}{domain: {}}, domain: domain, namespace: namespace}
	for name := range hosts {
		for t.owns(name) && name != domain {
			_, name, _ = strings.Cut(name, ".")
			t.between[name] = struct{}{}
		}
	}
	return t
}

// Len returns how many names the table has.
func (t *Table) Len() int { return len(t.hosts) }

// find returns the addresses of a name in any of its forms: in full, or short for a
// service of the own or of a named namespace.
func (t *Table) find(name string) ([]netip.Addr, bool) {
	for _, suffix := range []string{"", "." + t.domain, ".svc." + t.domain, "." + t.namespace + ".svc." + t.domain} {
		if a, ok := t.hosts[name+suffix]; ok {
			return a, true
		}
	}
	return nil, false
}

// leads reports whether a name has nothing itself and something below it, or is the
// domain: it exists, and the answer is "nothing", not "no such name" (RFC 4592, 2.2.2;
// RFC 8020).
func (t *Table) leads(name string) bool {
	_, ok := t.between[name]
	return ok
}

// owns reports whether a name lies inside of the mesh's domain, so that nobody else
// could know it.
func (t *Table) owns(name string) bool {
	return name == t.domain || strings.HasSuffix(name, "."+t.domain)
}
