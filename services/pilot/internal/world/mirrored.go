package world

import (
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// copies knows how far the registry's copies of the config's services and workloads are.
// Used by Run's goroutine only.
type copies struct {
	// whole is the newest config revision that the registry has, but for what is behind.
	whole uint64
	// stuck is what cannot be written there, and why.
	stuck map[bus.Key]string
	// behind is what whole has gone past, and why.
	behind map[bus.Key]string
	// arrived says at which revision the registry had what was behind, after all.
	arrived map[bus.Key]uint64
}

// maxArrived bounds what is remembered of objects that are no longer there.
const maxArrived = 1000

// judge brings copies up to date. A revision is in the world when its services and
// workloads are in the registry, which is where they act. Until then the world is known
// by the one before, unless all that is missing is stuck: nobody else waits for that.
func (c *copies) judge(config, registry *half) {
	missing := unmirrored(config.entries, registry.entries)
	for key := range c.behind {
		if !missing[key] {
			c.arrived[key] = registry.revision
			delete(c.behind, key)
		}
	}
	whole := true
	for key := range missing {
		reason, stuck := c.stuck[key]
		_, past := c.behind[key]
		switch {
		case stuck:
			c.behind[key] = reason
		case past:
			c.behind[key] = "is being copied"
		}
		whole = whole && stuck
	}
	if whole {
		c.whole = config.revision
	}
	if len(c.arrived) > maxArrived {
		for key := range c.arrived {
			if config.entries[key] == nil {
				delete(c.arrived, key)
			}
		}
	}
}

// unmirrored lists what config says of services and workloads and the registry has not,
// or has from config although it is no longer there. What another source has registered
// under the same name wins over config's, and counts as done.
func unmirrored(config, registry map[bus.Key]*configv1.Object) map[bus.Key]bool {
	missing := map[bus.Key]bool{}
	for key, o := range config {
		if o.GetService() == nil && o.GetWorkload() == nil {
			continue
		}
		if copied := registry[key]; copied == nil || copied.GetMetadata().GetOrigin() == model.OriginConfig && !sameSpec(o, copied) {
			missing[key] = true
		}
	}
	for key, o := range registry {
		if o.GetMetadata().GetOrigin() == model.OriginConfig && config[key] == nil {
			missing[key] = true
		}
	}
	return missing
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

// byRef is a copy of m by the names that the model uses.
func byRef[V any](m map[bus.Key]V) map[model.Ref]V {
	out := make(map[model.Ref]V, len(m))
	for key, v := range m {
		out[model.Ref{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}] = v
	}
	return out
}
