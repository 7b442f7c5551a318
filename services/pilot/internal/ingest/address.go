package ingest

import (
	"hash/fnv"
	"net/netip"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// addresses gives each service its virtual address: the one it has, or a free one that
// its name decides, so that a mesh that starts again has the same addresses.
func (c *checker) addresses() {
	if !c.settings.Addresses.IsValid() {
		return
	}
	taken := map[string]bool{}
	for _, o := range c.next {
		taken[o.GetService().GetAddress()] = true
	}
	for _, d := range c.in.Documents {
		svc := d.Object.GetService()
		if svc == nil || svc.Headless || svc.Address != "" {
			continue
		}
		ref := model.RefOf(d.Object)
		svc.Address = c.view[ref].Object.GetService().GetAddress()
		if svc.Address == "" {
			svc.Address = free(c.settings.Addresses, ref.Namespace+"/"+ref.Name, taken)
		}
		if svc.Address == "" {
			c.on(d)("spec.address", "every address of %s is taken", c.settings.Addresses)
		}
		taken[svc.Address] = true
	}
}

// free returns an address of the range that is not taken, "" if there is none. The
// first and the last address of a range are left alone, as networks have it.
func free(in netip.Prefix, name string, taken map[string]bool) string {
	if !in.IsValid() || !in.Addr().Is4() || in.Bits() > 30 {
		return ""
	}
	size := uint32(1)<<(32-in.Bits()) - 2
	h := fnv.New32a()
	h.Write([]byte(name))
	b := in.Masked().Addr().As4()
	base := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	for i := range size {
		n := base + 1 + (h.Sum32()%size+i)%size
		a := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		if !taken[a.String()] {
			return a.String()
		}
	}
	return ""
}
