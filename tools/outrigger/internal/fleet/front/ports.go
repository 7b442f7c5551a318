package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/forward"
)

// ingressName is the published name that has a flag of its own.
const ingressName = "ingress"

// ports are the listeners on the machine's loopback.
type ports struct {
	state     string
	places    int                     // of each of them
	listeners map[string]net.Listener // by published name
}

func openPorts(plan fleet.Plan) (*ports, error) {
	limit, err := openFiles()
	if err != nil {
		return nil, err
	}
	p := &ports{state: plan.State, listeners: map[string]net.Listener{}}
	if p.places, err = placesOf(plan, limit); err != nil {
		return nil, err
	}
	for _, each := range plan.Publish {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(each.Port)))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			p.close()
			return nil, portRefusal(each, err)
		}
		p.listeners[each.Name] = listener
	}
	return p, nil
}

func portRefusal(p fleet.Publish, err error) error {
	flag := fmt.Sprintf("--publish %s=PORT", p.Name)
	if p.Name == ingressName {
		flag = "--ingress-port PORT"
	}
	problem := fmt.Sprintf("port %d of this machine cannot be used for %s", p.Port, p.Name)
	if errors.Is(err, unix.EADDRINUSE) {
		problem = fmt.Sprintf("port %d of this machine, wanted for %s, is in use", p.Port, p.Name)
	}
	return &Refusal{Problem: problem, Cause: err, Advice: "stop what uses it, or take another port with " + flag + " (0: any free one)"}
}

func (p *ports) addresses() map[string]string {
	addresses := map[string]string{}
	for name, listener := range p.listeners {
		addresses[name] = listener.Addr().String()
	}
	return addresses
}

// ownDescriptors are those that `outrigger up` needs beside those of forwarded
// connections.
const ownDescriptors = 64

// placesOf is how many connections each published port can carry where a process may
// have limit files open. Too few to work with are an error.
func placesOf(plan fleet.Plan, limit uint64) (int, error) {
	return forward.Places(limit, len(plan.Publish), ownDescriptors)
}

// serve carries connections to the supervisor until ctx ends. What keeps a port from
// taking connections goes to trouble, which may be called from several goroutines.
func (p *ports) serve(ctx context.Context, trouble func(error)) error {
	var parts sync.WaitGroup
	failures := make(chan error, len(p.listeners)) // one each
	for name, listener := range p.listeners {
		door := forward.Door{
			Listener: listener, Open: func() (net.Listener, error) { return net.Listen("tcp", listener.Addr().String()) },
			Dial:   forward.To("unix", filepath.Join(p.state, fleet.RunFolder, fleet.ForwardFolder, name+".sock")),
			Places: p.places, Trouble: func(err error) { trouble(fmt.Errorf("port %s: %w", name, err)) },
		}
		parts.Go(func() { failures <- door.Run(ctx) })
	}
	parts.Wait()
	close(failures)
	var all error
	for err := range failures {
		all = errors.Join(all, err)
	}
	return all
}

func (p *ports) close() {
	for _, listener := range p.listeners {
		listener.Close()
	}
}
