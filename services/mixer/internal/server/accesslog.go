package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
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
)

// AccessLog serves envoy.service.accesslog.v3. Entries about TCP connections are not
// taken.
type AccessLog struct {
	alsv3.UnimplementedAccessLogServiceServer
	s *Server
}

// AccessLog returns the service.
func (s *Server) AccessLog() *AccessLog { return &AccessLog{s: s} }

// StreamAccessLogs implements the service: every HTTP entry becomes a Report. The
// stream's reader is its own limit: while adapters are slow, Envoy keeps or drops.
func (l *AccessLog) StreamAccessLogs(stream alsv3.AccessLogService_StreamAccessLogsServer) error {
	ctx := stream.Context()
	var w *registry.Workload
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&alsv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		if w, err = l.sender(ctx, w, msg.GetIdentifier()); err != nil {
			return err
		}
		l.take(ctx, w, msg.GetHttpLogs().GetLogEntry())
	}
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

func (l *AccessLog) take(ctx context.Context, w *registry.Workload, entries []*accesslogv3.HTTPAccessLogEntry) {
	l.s.countReports(ctx, len(entries), "access_log", proxyName(w))
	snap := l.s.world.Snapshot()
	for _, e := range entries {
		bag := attr.FromLog(e)
		destination := attr.Overlay{Values: snap.Destination(w, service(snap, e))}
		if err := l.s.engine.Report(ctx, attr.Unnoted(bag, source(snap, bag), destination)); err != nil {
			l.s.tel.Log.Debug("an access log entry was not recorded in full", telemetry.Proxy(proxyName(w)), "error", err)
		}
	}
}

// service is the host name of the service that was asked for, "" if the entry does not
// say: in the tag, or as the last part of the cluster's name.
func service(snap *registry.Snapshot, e *accesslogv3.HTTPAccessLogEntry) string {
	c := e.GetCommonProperties()
	if tag := c.GetCustomTags()[TagService]; tag != "" {
		return tag
	}
	cluster := c.GetUpstreamCluster()
	host := cluster[strings.LastIndexByte(cluster, '|')+1:]
	if _, ok := snap.Service(host); ok {
		return host
	}
	return ""
}
