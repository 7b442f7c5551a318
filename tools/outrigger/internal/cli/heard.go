package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// heard knows whether the last call was answered to its end, be it by a refusal: the code
// of an error alone does not tell what pilot says from what the way to it says.
type heard struct{ answered atomic.Bool }

// TagRPC implements stats.Handler.
func (h *heard) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler: only a server sends trailers.
func (h *heard) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.Begin:
		h.answered.Store(false)
	case *stats.InTrailer:
		h.answered.Store(true)
	}
}

// TagConn implements stats.Handler.
func (h *heard) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (h *heard) HandleConn(context.Context, stats.ConnStats) {}

// where is pilot's address for a person.
func (c *connection) where() string {
	if c.server != "" {
		return c.server
	}
	return filepath.Join(c.state, "run", "pilot.grpc.sock")
}

// silent says that pilot does not answer, and what to do. Why a server cannot be reached is
// worth reading; of a socket it is always that nobody is there.
func (c *connection) silent(reason string) error {
	if c.server == "" {
		return fmt.Errorf("pilot does not answer at %s\nsee how it is with `outrigger fleet status`, and why in its log, %s",
			c.where(), filepath.Join(c.state, "log", "pilot.log"))
	}
	if _, cause, ok := strings.Cut(reason, `desc = "`); ok {
		reason = strings.TrimSuffix(cause, `"`)
	}
	return fmt.Errorf("pilot does not answer at %s: %s", c.server, strings.TrimPrefix(reason, "transport: "))
}
