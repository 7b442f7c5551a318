package xds

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/status"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/stream"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/translate"
)

// conn is one proxy's stream. Used by one goroutine.
type conn struct {
	server   *Server
	wire     wire
	node     node
	id       spiffe.ID
	machine  *stream.Machine
	set      *translate.Set
	info     status.Proxy
	handleID int
}

func (c *conn) close() {
	if c == nil {
		return
	}
	c.server.table.Disconnect(c.handleID)
	c.server.stats.connected(context.Background(), -1)
	c.server.log.Info("proxy gone", telemetry.Proxy(c.info.Name))
}

// handle takes a request in. An error says that the proxy may not ask for it.
func (c *conn) handle(msg message) error {
	r := msg.req
	if !msg.known || msg.bad != nil {
		return msg.bad
	}
	if r.Refusal != "" {
		c.server.stats.nack(context.Background(), r.Type)
		c.server.log.Warn("proxy refused config", telemetry.Proxy(c.info.Name), "type", r.Type.URL(), "error", r.Refusal)
	}
	return c.machine.Handle(r)
}

// push sends what is due and returns when to look again. set is nil until pilot knows
// the world; the proxy waits.
func (c *conn) push(ctx context.Context, set *translate.Set) (<-chan time.Time, error) {
	if set == nil {
		return nil, nil
	}
	if set != c.set {
		c.set = set
		wants := set.Wants(c.facts(set))
		c.machine.Want(wants, set.Snapshot.Revision)
		c.info = c.info.Told(set.Snapshot, wants, usesOf(wants))
	}
	responses, wake := c.machine.Next(time.Now())
	for _, r := range responses {
		if err := c.wire.send(r); err != nil {
			return nil, c.unsent(ctx, r, err)
		}
		c.server.stats.pushed(context.Background(), r)
	}
	c.report()
	if wake.IsZero() {
		return nil, nil
	}
	return time.After(time.Until(wake)), nil
}

// unsent logs that a response did not go out, and returns why. A proxy that went away
// meanwhile is nothing to look for; one that comes again and again to the same error is.
func (c *conn) unsent(ctx context.Context, r stream.Response, err error) error {
	level := slog.LevelWarn
	if ctx.Err() != nil {
		level = slog.LevelDebug
	}
	c.server.log.Log(ctx, level, "config not sent", telemetry.Proxy(c.info.Name), "type", r.Type.URL(), "resources", len(r.Upserts), "error", err)
	return err
}

// report tells the table, if there is something new.
func (c *conn) report() {
	refused := refusalsOf(c.machine.Refusals())
	next := c.info
	if c.machine.Settled() {
		next = next.Took()
	}
	next.Acknowledged, next.Refused = c.machine.Acknowledged(), refused
	c.info = next
	c.server.table.Update(c.handleID, next)
}

func refusalsOf(rs []stream.Refusal) []status.Refusal {
	var out []status.Refusal
	for _, r := range rs {
		short := cut(r.Message, maxShort)
		for i, name := range r.Names {
			message := r.Message
			if i >= wholeRefusals {
				message = short
			}
			out = append(out, status.Refusal{Resource: name, Message: message})
		}
	}
	return out
}

func usesOf(w *translate.Wants) map[model.Ref]bool {
	uses := map[model.Ref]bool{}
	for _, byName := range w {
		for r := range maps.Values(byName) {
			for _, ref := range r.Sources {
				uses[ref] = true
			}
		}
	}
	return uses
}
