package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Origins of registry entries.
const (
	originConfig = model.OriginConfig
	originAgent  = "registry:agent"
)

// writer is the side of the bus that is written to.
type writer interface {
	Apply(ctx context.Context, writes []bus.Write) (revision uint64, err error)
}

// Mirror keeps a copy of the config bucket's services and workloads in the registry.
type Mirror struct {
	config, registry *Store
	to               writer
	addresses        netip.Prefix
	self             string // SPIFFE ID of this pilot
	log              *slog.Logger
}

// NewMirror returns a mirror that gives services without an address one of addresses.
func NewMirror(config, registry *Store, to writer, addresses netip.Prefix, self string, log *slog.Logger) *Mirror {
	return &Mirror{config, registry, to, addresses.Masked(), self, log}
}

// Run copies until ctx ends. A write that fails is tried again when something changes,
// or after a second, and holds no other write back. Whenever it changes, stuck is told
// which objects could not be brought up to date, and why. The map is stuck's to keep.
func (m *Mirror) Run(ctx context.Context, stuck func(map[bus.Key]string)) error {
	var last failures
	for {
		config, ok, configChanged := m.config.Entries()
		registry, known, registryChanged := m.registry.Entries()
		var again <-chan time.Time
		if ok && known {
			failed := m.copy(ctx, plan(config, registry, m.addresses), last)
			if ctx.Err() != nil {
				return nil
			}
			if was, now := last.stuck(), failed.stuck(); !maps.Equal(was, now) {
				m.warn(was, now)
				stuck(now)
			}
			if last = failed; len(failed) > 0 {
				again = time.After(time.Second)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-configChanged:
		case <-registryChanged:
		case <-again:
		}
	}
}

// warn logs what is stuck now and was not before, or for another reason.
func (m *Mirror) warn(was, now map[bus.Key]string) {
	for _, key := range slices.SortedFunc(maps.Keys(now), compareKeys) {
		if now[key] != was[key] {
			m.log.Warn("not brought into the registry", "object", key.String(), "error", now[key])
		}
	}
}

func compareKeys(a, b bus.Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// plan returns the writes that make registry hold what config says. Entries of other
// origins are left alone, and win over config's of the same name.
func plan(config, registry []bus.Entry, addresses netip.Prefix) []bus.Write {
	have := map[bus.Key]bus.Entry{}
	taken := map[string]bool{}
	for _, e := range registry {
		have[e.Key] = e
		if a := e.Envelope.GetObject().GetService().GetAddress(); a != "" {
			taken[a] = true
		}
	}
	var writes []bus.Write
	wanted := map[bus.Key]bool{}
	for _, e := range config {
		o := e.Envelope.GetObject()
		if o.GetService() == nil && o.GetWorkload() == nil {
			continue
		}
		wanted[e.Key] = true
		old := have[e.Key]
		if old.Envelope != nil && old.Envelope.GetOrigin() != originConfig {
			continue
		}
		next := registered(o, old.Envelope.GetObject(), taken, addresses)
		if old.Envelope == nil || !proto.Equal(next, old.Envelope.GetObject()) {
			writes = append(writes, bus.Write{Envelope: &busv1.Envelope{Object: next, Origin: originConfig}, BasedOn: old.Seq})
		}
	}
	for _, e := range registry {
		if e.Envelope.GetOrigin() == originConfig && !wanted[e.Key] {
			writes = append(writes, bus.Write{Envelope: &busv1.Envelope{Object: e.Envelope.GetObject(), Origin: originConfig, Deleted: true}, BasedOn: e.Seq})
		}
	}
	return writes
}

// registered is the registry's form of a config object: the same, with the virtual
// address that the service has had so far, or a free one.
func registered(o, old *configv1.Object, taken map[string]bool, addresses netip.Prefix) *configv1.Object {
	next, ok := proto.Clone(o).(*configv1.Object)
	if !ok {
		panic("a clone has another type")
	}
	next.Metadata.Revision, next.Metadata.Origin = 0, ""
	svc := next.GetService()
	if svc == nil || svc.GetHeadless() || svc.GetAddress() != "" {
		return next
	}
	if svc.Address = old.GetService().GetAddress(); svc.Address == "" || !within(addresses, svc.Address) {
		svc.Address = free(next.GetMetadata().GetNamespace()+"/"+next.GetMetadata().GetName(), taken, addresses)
		taken[svc.Address] = true
	}
	return next
}

func within(p netip.Prefix, address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && p.Contains(a)
}

// free returns an address of the range that nobody has: the one that the name hashes to,
// or the next one after it. "" if the range is used up. The first and the last address
// are left out.
func free(name string, taken map[string]bool, p netip.Prefix) string {
	bits := min(p.Addr().BitLen()-p.Bits(), 24)
	size := uint32(1) << bits
	if size < 4 {
		return ""
	}
	sum := sha256.Sum256([]byte(name))
	start := binary.BigEndian.Uint32(sum[:4])
	for i := range size - 2 {
		a := nth(p.Addr(), 1+(start+i)%(size-2)).String()
		if !taken[a] {
			return a
		}
	}
	return ""
}

// nth is base+n, for an n that fits into the host part.
func nth(base netip.Addr, n uint32) netip.Addr {
	b := base.AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+n)
	a, _ := netip.AddrFromSlice(b)
	return a
}
