package e2e

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// relay stands between the proxies and mixer, and can be what a network is: slow, or
// silent, or not there.
type relay struct {
	door   *mesh.Door
	listen string
	target string

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
	delay    time.Duration
	silent   bool
}

// Where the proxies of the policy mesh find mixer: the relay, and mixer itself.
const (
	relayAddress = "10.77.0.1:15039"
	mixerAddress = "10.77.0.1:15030"
	// relayFrom is where the relay calls mixer from: no workload has it. What a proxy says
	// from the address of another workload, as ingress is in the hub, mixer does not take.
	relayFrom = "127.0.0.1"
)

func startRelay(t *testing.T, s *site) *relay {
	t.Helper()
	r := &relay{door: must(s.Door("hub"))(t), listen: relayAddress, target: mixerAddress, open: map[net.Conn]bool{}}
	r.restore(t)
	t.Cleanup(r.cut)
	return r
}

// restore makes it carry bytes again, without delay.
func (r *relay) restore(t *testing.T) {
	t.Helper()
	r.cut()
	listener := must(r.door.Listen(r.listen))(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listener, r.delay, r.silent = listener, 0, false
	go r.accept(listener)
}

// cut makes it refuse connections, as when mixer is not there.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		r.listener.Close()
	}
	for conn := range r.open {
		conn.Close()
	}
	r.open = map[net.Conn]bool{}
}

// hush makes it take bytes and carry none.
func (r *relay) hush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = true
}

// slow makes everything from mixer come that much later.
func (r *relay) slow(delay time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = delay
}

// mood is how it is now.
func (r *relay) mood() (delay time.Duration, silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.delay, r.silent
}

func (r *relay) accept(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := r.door.DialFrom(context.Background(), relayFrom, "tcp", r.target)
		if err != nil {
			near.Close()
			continue
		}
		r.mu.Lock()
		r.open[near], r.open[far] = true, true
		r.mu.Unlock()
		go r.pour(far, near, false)
		go r.pour(near, far, true)
	}
}

// pour carries one direction; late says that it is the one that can be slow.
func (r *relay) pour(to, from net.Conn, late bool) {
	defer func() {
		to.Close()
		from.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, to)
		delete(r.open, from)
	}()
	text := make([]byte, 64<<10)
	for {
		n, err := from.Read(text)
		if err != nil {
			return
		}
		delay, silent := r.mood()
		if silent {
			continue
		}
		if late && delay > 0 {
			<-time.After(delay)
		}
		if _, err := to.Write(text[:n]); err != nil {
			return
		}
	}
}
