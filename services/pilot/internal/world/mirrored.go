package world

import (
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// mirrored reports whether the registry has what config says of services and workloads,
// and nothing from config that is no longer there. What another source has registered
// under the same name wins over config's, and counts as done.
func mirrored(config, registry map[bus.Key]*configv1.Object) bool {
	for key, o := range config {
		if o.GetService() == nil && o.GetWorkload() == nil {
			continue
		}
		if copied := registry[key]; copied == nil || copied.GetMetadata().GetOrigin() == model.OriginConfig && !sameSpec(o, copied) {
			return false
		}
	}
	for key, o := range registry {
		if o.GetMetadata().GetOrigin() == model.OriginConfig && config[key] == nil {
			return false
		}
	}
	return true
}

// sameSpec compares what was written with its copy, which has a virtual address of its
// own where none was written.
func sameSpec(written, copied *configv1.Object) bool {
	plain := func(o *configv1.Object) *configv1.Object {
		out := proto.CloneOf(o)
		out.Metadata.Revision, out.Metadata.Origin = 0, ""
		if svc := out.GetService(); svc != nil && written.GetService().GetAddress() == "" {
			svc.Address = ""
		}
		return out
	}
	return proto.Equal(plain(written), plain(copied))
}
