package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

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
// worth reading; of a socket it is that nobody is there, or that it is not for us.
func (c *connection) silent(reason string) error {
	if uid, others := c.others(); others {
		return fmt.Errorf("the mesh at %s is run by the user with uid %d, who alone may call it: do this as that user", c.state, uid)
	}
	if c.server == "" {
		return fmt.Errorf("pilot does not answer at %s\nsee how it is with `outrigger fleet status`, and why in its log, %s",
			c.where(), filepath.Join(c.state, "log", "pilot.log"))
	}
	if _, cause, ok := strings.Cut(reason, `desc = "`); ok {
		reason = strings.TrimSuffix(cause, `"`)
	}
	return fmt.Errorf("pilot does not answer at %s: %s", c.server, strings.TrimPrefix(reason, "transport: "))
}

// others is whose state folder it is, if that is another user.
func (c *connection) others() (uid int, ok bool) {
	if c.server != "" {
		return 0, false
	}
	info, err := os.Stat(c.state)
	if err != nil {
		return 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), int(stat.Uid) != os.Geteuid()
}
