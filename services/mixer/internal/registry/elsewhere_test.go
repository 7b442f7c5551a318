package registry_test

import (
	"net/netip"
	"testing"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

func TestElsewhere(t *testing.T) {
	workload := func(name, account, address string) *configv1.Object {
		return &configv1.Object{
			Kind: "Workload", Metadata: &configv1.Metadata{Name: name, Namespace: "default"},
			Spec: &configv1.Object_Workload{Workload: &configv1.Workload{Account: account, Address: address}},
		}
	}
	s := registry.Build([]*configv1.Object{
		workload("web-1", "web", "10.0.0.1"), workload("web-2", "web", "10.0.0.2"), workload("gateway", "ingress", "192.0.2.1"),
	}, "cluster.local", 1)
	w, ok := s.Named("default", "web-1")
	if !ok {
		t.Fatal("web-1 is not there")
	}
	for address, want := range map[string]bool{
		"10.0.0.1": false, "::ffff:10.0.0.1": false, // its own
		"10.0.0.2":  true,  // of another one with its certificate's identity
		"192.0.2.1": false, // of the gateway, behind whose host it may be
		"10.0.0.9":  false, // nobody's
	} {
		if got := s.Elsewhere(w, netip.MustParseAddr(address)); got != want {
			t.Errorf("at %s: %v, want %v", address, got, want)
		}
	}
}
