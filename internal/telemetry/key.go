package telemetry

import "log/slog"

// Proxy is the log attribute that names a proxy.
func Proxy(name string) slog.Attr { return slog.String("proxy", name) }

// Object is the log attribute that names a config object, "Kind namespace/name".
func Object(name string) slog.Attr { return slog.String("object", name) }

// Revision is the log attribute for a config revision.
func Revision(n uint64) slog.Attr { return slog.Uint64("revision", n) }

// Peer is the log attribute for the identity on the other side.
func Peer(id string) slog.Attr { return slog.String("peer", id) }
