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
	listeners map[string]net.Listener // by published name
}

func openPorts(plan fleet.Plan) (*ports, error) {
	p := &ports{state: plan.State, listeners: map[string]net.Listener{}}
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

// serve carries connections to the supervisor until ctx ends.
func (p *ports) serve(ctx context.Context) error {
	var parts sync.WaitGroup
	failures := make(chan error, len(p.listeners)) // one each
	for name, listener := range p.listeners {
		socket := filepath.Join(p.state, fleet.RunFolder, fleet.ForwardFolder, name+".sock")
		parts.Go(func() { failures <- forward.Serve(ctx, listener, forward.To("unix", socket)) })
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
