package e2e

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// TestMachineUntouched: nothing is added to the machine's own network, and of the mesh
// only what it publishes is there, on loopback.
func TestMachineUntouched(t *testing.T) {
	s := prepared(t, mesh.Config{})
	before := must(mesh.ReadMachine())(t)
	s.start(t)
	check(t, first(s.page(t.Context(), ""))) // with traffic in it
	if diff := cmp.Diff(before, must(mesh.ReadMachine())(t)); diff != "" {
		t.Errorf("the machine's own network while the mesh runs (-before +now):\n%s", diff)
	}
	published := must(s.Snapshot())(t).Published
	file := must(mesh.ReadFleetFile(s.root))(t)
	if diff := cmp.Diff(slices.Sorted(slices.Values(file.Names("publish"))), slices.Sorted(maps.Keys(published))); diff != "" {
		t.Errorf("what is published (-fleet file +mesh):\n%s", diff)
	}
	var want []string
	for name, address := range published {
		if !must(netip.ParseAddrPort(address))(t).Addr().IsLoopback() {
			t.Errorf("%s is published at %s, want an address of loopback", name, address)
		}
		want = append(want, "tcp "+address)
	}
	slices.Sort(want)
	got := must(s.Listeners())(t)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("where the mesh listens on the machine (-published +there):\n%s", diff)
	}
	for _, listener := range got {
		_, address, _ := strings.Cut(listener, " ")
		if !must(netip.ParseAddrPort(address))(t).Addr().IsLoopback() {
			t.Errorf("the mesh listens at %s, which is not on loopback", listener)
		}
	}
	s.stopsClean(t)
	if diff := cmp.Diff(before, must(mesh.ReadMachine())(t)); diff != "" {
		t.Errorf("the machine's own network after the mesh (-before +now):\n%s", diff)
	}
}
