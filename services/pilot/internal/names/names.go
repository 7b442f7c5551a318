// Package names tells the helpers beside the proxies which names the mesh answers to.
// In: snapshots. Out: the table of host names and addresses, at once and at each
// change. It answers no DNS question itself.
package names

import (
	"slices"

	"google.golang.org/protobuf/proto"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// sets is where the newest set comes from.
type sets interface {
	Current() *translate.Set
	Changed() <-chan struct{}
}

// Watcher answers RegistryService.WatchNames.
type Watcher struct{ from sets }

// NewWatcher returns a watcher of the sets' snapshots.
func NewWatcher(from sets) *Watcher { return &Watcher{from} }

// WatchNames streams the table until the caller leaves.
func (w *Watcher) WatchNames(_ *pilotv1.WatchNamesRequest, ss pilotv1.RegistryService_WatchNamesServer) error {
	var last *pilotv1.WatchNamesResponse
	for {
		changed := w.from.Changed()
		if set := w.from.Current(); set != nil {
			next := &pilotv1.WatchNamesResponse{Revision: set.Snapshot.RegistryRevision, Names: table(set.Snapshot)}
			if last == nil || !slices.EqualFunc(last.Names, next.Names, equal) {
				if err := ss.Send(next); err != nil {
					return err
				}
				last = next
			}
		}
		select {
		case <-changed:
		case <-ss.Context().Done():
			return nil
		}
	}
}

func equal(a, b *pilotv1.Name) bool { return proto.Equal(a, b) }

// table gives each service its virtual address, and a headless one the addresses of its
// ready workloads.
func table(s *model.Snapshot) []*pilotv1.Name {
	out := make([]*pilotv1.Name, 0, len(s.Services))
	for _, svc := range s.Services {
		n := &pilotv1.Name{Host: svc.Host}
		switch {
		case svc.Address != "":
			n.Addresses = []string{svc.Address}
		case svc.Headless:
			for _, w := range svc.Workloads {
				if w.Ready() {
					n.Addresses = append(n.Addresses, w.Address)
				}
			}
		}
		out = append(out, n)
	}
	return out
}
