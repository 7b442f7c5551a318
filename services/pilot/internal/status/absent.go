package status

import (
	"cmp"
	"slices"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// absent returns the proxies of s that are not among those connected: their workloads
// are registered as taking requests, so they carry traffic by what they were told before,
// perhaps by a pilot before this one. Each is missing in any count of who has something
// in force, until it connects, or its workload leaves the registry, at the latest with
// its lease.
func absent(connected []Proxy, s *model.Snapshot) []Proxy {
	there := map[model.Ref]bool{}
	for _, p := range connected {
		there[p.Workload] = true
	}
	var out []Proxy
	for ref, w := range s.Workloads {
		if w.Leased && w.State == configv1.Workload_READY && !there[ref] {
			out = append(out, Proxy{Name: ref.Name + "." + ref.Namespace, Address: w.Address, ID: w.Account.String(), Workload: ref})
		}
	}
	slices.SortFunc(out, func(a, b Proxy) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
