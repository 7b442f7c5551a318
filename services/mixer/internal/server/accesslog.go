package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"time"

	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/attr"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

const (
	// LogName is what pilot calls its access logs; other logs are not taken.
	LogName = "outrigger"
	// TagService is the custom tag with the host name of the service that was asked for.
	TagService = "outrigger.service"
	// patience is how long a stream waits for the registry to know its workload.
	patience = 5 * time.Second
	// burst is how many entries are taken in a row, and maxPause the longest pause after
	// them. A proxy sends what has gathered: taken all at once, a hundred entries keep a
	// processor for milliseconds from proxies that run beside mixer, and from requests
	// that wait for a check.
	burst    = 8
	maxPause = time.Millisecond
)

// turns is how many streams of one host record at once: a host that sends without end, by
// however many streams, leaves the other processors to those who ask for checks, and a
// single one at every burst's end.
func turns() int { return runtime.GOMAXPROCS(0) / 2 }

// host is who sends: an account at an address.
type host struct {
	id      spiffe.ID
	address string // without the port
}

func hostOf(c rpc.Caller) host {
	address, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		address = c.Address
	}
	return host{c.ID, address}
}

// AccessLog serves envoy.service.accesslog.v3. Entries about TCP connections are not
// taken.
type AccessLog struct{ s *Server }

// AccessLog returns the service.
func (s *Server) AccessLog() *AccessLog { return &AccessLog{s: s} }

// logs is what has a stream of access logs.
type logs interface{ stream(grpc.ServerStream) error }

// accessLogService is the service as it is generated, but that messages are read as they
// came: an Entry looks at little of what it is made of.
func accessLogService() *grpc.ServiceDesc {
	desc := alsv3.AccessLogService_ServiceDesc
	desc.HandlerType = (*logs)(nil)
	desc.Streams = []grpc.StreamDesc{{
		StreamName: "StreamAccessLogs", ClientStreams: true,
		Handler: func(s any, stream grpc.ServerStream) error { return s.(logs).stream(stream) },
	}}
	return &desc
}

// stream takes a stream of logs: every HTTP entry becomes a Report. The stream's reader
// is its own limit: while adapters are slow, Envoy keeps or drops.
func (l *AccessLog) stream(stream grpc.ServerStream) error {
	ctx := stream.Context()
	var w *registry.Workload
	for {
		waiting := time.Now()
		msg, err := receive(stream)
		if errors.Is(err, io.EOF) {
			return stream.SendMsg(&alsv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		if len(msg.entries) > maxSets {
			return fault.Invalid.Errorf("more entries than the %d that are allowed", maxSets)
		}
		if w, err = l.sender(ctx, w, msg.identifier); err != nil {
			return err
		}
		l.take(ctx, w, msg.entries, pause(time.Since(waiting), len(msg.entries)))
	}
}

// pause is how long to wait after each burst of a message's entries when the message was
// waited for so long: all pauses together are half of that, and who sends without end is
// not held up.
func pause(waited time.Duration, entries int) time.Duration {
	return min(maxPause, waited/2/time.Duration(1+entries/burst))
}

// logMessage is a message of the stream.
type logMessage struct {
	identifier *alsv3.StreamAccessLogsMessage_Identifier // nil if it has none
	entries    [][]byte                                  // of HTTP requests
}

// receive reads the next message. A message type without fields keeps all that came.
func receive(stream grpc.ServerStream) (logMessage, error) {
	var whole emptypb.Empty
	if err := stream.RecvMsg(&whole); err != nil {
		return logMessage{}, err
	}
	identifier, entries := attr.LogParts(whole.ProtoReflect().GetUnknown(), maxSets)
	if identifier == nil {
		return logMessage{entries: entries}, nil
	}
	out := logMessage{identifier: &alsv3.StreamAccessLogsMessage_Identifier{}, entries: entries}
	if err := proto.Unmarshal(identifier, out.identifier); err != nil {
		return logMessage{}, fault.Invalid.Errorf("identifier: %w", err)
	}
	return out, nil
}

// sender is the workload whose proxy sends. The first message says which it is; later
// ones look again, since its labels may have changed, and a workload that has gone
// still has a last word.
func (l *AccessLog) sender(ctx context.Context, w *registry.Workload, id *alsv3.StreamAccessLogsMessage_Identifier) (*registry.Workload, error) {
	if w != nil {
		snap := l.s.world.Snapshot()
		if now, err := l.s.speaksFor(snap, rpc.CallerFrom(ctx), proxyName(w)); err == nil {
			return now, nil
		}
		return w, nil
	}
	if id == nil {
		return nil, fault.Invalid.Errorf("the first message has no identifier")
	}
	if id.GetLogName() != LogName {
		return nil, fault.Invalid.Errorf("the log is called %q, want %q", id.GetLogName(), LogName)
	}
	// A node's id is "<role>~<address>~<workload>.<namespace>~<domain>".
	parts := strings.Split(id.GetNode().GetId(), "~")
	if len(parts) != 4 {
		return nil, fault.Invalid.Errorf("node %q: want <role>~<address>~<workload>.<namespace>~<domain>", id.GetNode().GetId())
	}
	name := parts[2]
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	snap := l.s.world.Await(wait, func(s *registry.Snapshot) bool {
		at := strings.LastIndexByte(name, '.')
		_, ok := s.Named(name[at+1:], name[:max(at, 0)])
		return ok || at < 0
	})
	return l.s.speaksFor(snap, rpc.CallerFrom(ctx), name)
}

func (l *AccessLog) take(ctx context.Context, w *registry.Workload, entries [][]byte, pause time.Duration) {
	l.s.countReports(ctx, len(entries), "access_log", proxyName(w))
	snap := l.s.world.Snapshot()
	from := sources{snap: snap}
	for len(entries) > 0 {
		now := entries[:min(burst, len(entries))]
		l.record(ctx, w, now, &from)
		if entries = entries[len(now):]; len(entries) == 0 {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done(): // who sent this has gone, or mixer stops: the rest is taken at once
		}
	}
}

// record takes a burst in one turn of its sender.
func (l *AccessLog) record(ctx context.Context, w *registry.Workload, entries [][]byte, from *sources) {
	defer l.s.turns.Take(hostOf(rpc.CallerFrom(ctx)))()
	for _, raw := range entries {
		e := attr.NewEntry(raw)
		bag := e.Bag()
		destination := attr.Overlay{Values: from.snap.Destination(w, service(from.snap, e))}
		if err := l.s.engine.Report(ctx, attr.Unnoted(bag, from.of(bag), destination)); err != nil {
			l.s.tel.Log.Debug("an access log entry was not recorded in full", telemetry.Proxy(proxyName(w)), "error", err)
		}
	}
}

// sources finds the sources of requests one after the other: many are the same.
type sources struct {
	snap    *registry.Snapshot
	address netip.Addr // of the last one
	user    string
	last    attr.Overlay
}

func (s *sources) of(bag *attr.Bag) attr.Overlay {
	address, user := peer(bag)
	if s.last.Values == nil || address != s.address || user != s.user {
		s.address, s.user, s.last = address, user, sourceOf(s.snap, address, user)
	}
	return s.last
}

// service is the host name of the service that was asked for, "" if the entry does not
// say: in the tag, or as the last part of the cluster's name.
func service(snap *registry.Snapshot, e *attr.Entry) string {
	if tag := e.Tag(TagService); tag != "" {
		return tag
	}
	cluster := e.Cluster()
	host := cluster[strings.LastIndexByte(cluster, '|')+1:]
	if _, ok := snap.Service(host); ok {
		return host
	}
	return ""
}
