package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/accept"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/peer"
)

const (
	maxRequest     = 64 << 10 // bytes of one line
	requestTimeout = 30 * time.Second
	maxClients     = 16
)

// control answers requests at the control socket.
type control struct {
	publisher *publisher
	places    map[string]place
	runners   map[string]*runner
	plan      fleet.Plan
	log       *slog.Logger
}

// listenPrivate listens at a Unix socket that only the owner can open.
func listenPrivate(path string) (net.Listener, error) {
	listener, err := net.Listen("unix", path) // the umask is 077
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen at %s: %w", path, err), listener.Close())
	}
	return listener, nil
}

func (c *control) path() string {
	return filepath.Join(c.plan.State, fleet.RunFolder, fleet.ControlSocket)
}

// Run serves clients of the supervisor's own user and root until ctx ends.
func (c *control) Run(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	places := make(chan struct{}, maxClients)
	patient := accept.New(ctx, listener, func(err error) { c.log.Error("takes no requests", "error", err) })
	for {
		conn, err := patient.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		select {
		case places <- struct{}{}:
			go func() {
				defer func() { <-places }()
				c.serve(ctx, conn)
			}()
		default:
			conn.Close()
		}
	}
}

func (c *control) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answer := json.NewEncoder(conn)
	uid, err := peer.UID(conn)
	if err != nil || uid != 0 && int(uid) != os.Geteuid() {
		_ = answer.Encode(fleet.Response{Error: "this socket is for the user who runs the fleet"})
		return // whether it took the answer or not
	}
	lines := bufio.NewScanner(io.LimitReader(conn, maxRequest*maxClients))
	lines.Buffer(nil, maxRequest)
	for {
		if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
			return
		}
		if !lines.Scan() {
			return
		}
		var request fleet.Request
		response := fleet.Response{}
		if err := json.Unmarshal(lines.Bytes(), &request); err != nil {
			response.Error = "the request is not the JSON that is expected"
		} else {
			response = c.answer(ctx, request)
		}
		if err := answer.Encode(response); err != nil {
			return
		}
	}
}

func (c *control) answer(ctx context.Context, request fleet.Request) fleet.Response {
	var response fleet.Response
	err := c.carryOut(ctx, request, &response)
	if err != nil {
		response.Error = err.Error()
	}
	return response
}

func (c *control) carryOut(ctx context.Context, request fleet.Request, response *fleet.Response) (err error) {
	switch request.Op {
	case "status":
		snapshot := c.publisher.snapshot()
		response.Snapshot = &snapshot
		return nil
	case "members":
		response.Members, err = members(c.places)
		return err
	case "start":
		return c.order(ctx, request.Name, order{up: true})
	case "restart":
		return c.order(ctx, request.Name, order{up: true, restart: true})
	case "stop":
		return c.order(ctx, request.Name, order{})
	case "signal":
		return c.signal(ctx, request)
	default:
		return fmt.Errorf("unknown request %q", request.Op)
	}
}

// meant returns the runners that a name stands for.
func (c *control) meant(name string) ([]*runner, error) {
	var found []*runner
	for _, p := range c.plan.Processes {
		if p.Name == name || p.Host == name && name != "" {
			found = append(found, c.runners[p.Name])
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no process or host is named %q", name)
	}
	return found, nil
}

// order gives the order to all that are meant, then waits until all have carried
// it out.
func (c *control) order(ctx context.Context, name string, o order) error {
	meant, err := c.meant(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return give(ctx, meant, o)
}

func (c *control) signal(ctx context.Context, request fleet.Request) error {
	number := unix.SignalNum("SIG" + request.Signal)
	if number == 0 {
		return fmt.Errorf("there is no signal %q", request.Signal)
	}
	return c.order(ctx, request.Name, order{signal: number})
}

// give hands an order to runners and waits until it is carried out.
func give(ctx context.Context, runners []*runner, o order) error {
	var pending []chan struct{}
	for _, r := range runners {
		each := o
		each.done = make(chan struct{})
		select {
		case r.orders <- each:
		case <-ctx.Done():
			return fmt.Errorf("%s takes no orders: %w", r.process.Name, ctx.Err())
		}
		pending = append(pending, each.done)
	}
	for i, done := range pending {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", runners[i].process.Name, ctx.Err())
		}
	}
	return nil
}
