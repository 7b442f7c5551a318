package envoytest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/envoy/internal/xdswire"
)

// World is all that a proxy is told.
type World struct {
	Revision  uint64
	Listeners []Resource
	Clusters  []Resource
}

// Pilot is an ADS server, state of the world and delta, with mTLS. It says nothing
// before the first Set. Other types than listeners and clusters are not answered.
type Pilot struct {
	Address netip.AddrPort

	t       testing.TB
	mux     *http.ServeMux
	mu      sync.Mutex
	world   World
	changed chan struct{} // closed and replaced by Set
	nodes   []string
	refused []string
	acked   map[string]uint64 // type to revision
	acks    chan struct{}     // closed and replaced at each answer of a proxy
	close   func()
}

// NewPilot serves on loopback until the test ends. settings are of a server that wants
// client certificates.
func NewPilot(t testing.TB, settings *tls.Config) *Pilot {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	p := &Pilot{
		mux:     mux,
		Address: l.Addr().(*net.TCPAddr).AddrPort(), t: t,
		changed: make(chan struct{}), acks: make(chan struct{}), acked: map[string]uint64{},
	}
	const service = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
	for method, delta := range map[string]bool{"StreamAggregatedResources": false, "DeltaAggregatedResources": true} {
		mux.HandleFunc(service+method, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, delta) })
	}
	srv := &http.Server{Handler: mux, TLSConfig: settings} // a test
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.ServeTLS(l, "", "") }()
	p.close = sync.OnceFunc(func() { _ = srv.Close(); <-served })
	t.Cleanup(p.close)
	return p
}

// Handle has another service answer calls below prefix, "/<service>/".
func (p *Pilot) Handle(prefix string, h http.Handler) { p.mux.Handle(prefix, h) }

// Close ends every stream and takes no more.
func (p *Pilot) Close() { p.close() }

// Set replaces the world and pushes it to every stream.
func (p *Pilot) Set(w World) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.world = w
	close(p.changed)
	p.changed = make(chan struct{})
}

// Nodes returns the ids of the proxies that connected, in order.
func (p *Pilot) Nodes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.nodes...)
}

// Refused returns Envoy's words for each response that it did not take.
func (p *Pilot) Refused() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.refused...)
}

// WaitAcknowledged returns when listeners and clusters of a revision are accepted.
func (p *Pilot) WaitAcknowledged(ctx context.Context, revision uint64) {
	p.t.Helper()
	for {
		p.mu.Lock()
		done := p.acked[ListenerType] >= revision && p.acked[ClusterType] >= revision
		wait := p.acks
		state := fmt.Sprint(p.acked, p.refused)
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-wait:
		case <-ctx.Done():
			p.t.Fatalf("revision %d not acknowledged: %s", revision, state)
		}
	}
}

func (p *Pilot) serve(w http.ResponseWriter, r *http.Request, delta bool) {
	st, err := xdswire.Accept(w, r)
	if err != nil {
		return
	}
	requests := make(chan xdswire.Request)
	go func() {
		defer close(requests)
		for {
			b, err := st.Recv()
			if err != nil {
				return
			}
			req, err := xdswire.DecodeRequest(b, delta)
			if err != nil {
				p.t.Errorf("request of Envoy: %v", err)
				return
			}
			select {
			case requests <- req:
			case <-r.Context().Done():
				return
			}
		}
	}()
	p.stream(st, delta, requests)
	st.End(0, "")
}

// stream answers each type once, and again at each Set.
func (p *Pilot) stream(st *xdswire.Stream, delta bool, requests <-chan xdswire.Request) {
	wanted := map[string]uint64{} // type to the revision sent
	sent := map[string]string{}   // nonce to "type", of responses not answered
	count := 0
	for {
		p.mu.Lock()
		world, changed := p.world, p.changed
		p.mu.Unlock()
		for _, typeURL := range []string{ClusterType, ListenerType} {
			last, ok := wanted[typeURL]
			if !ok || last == world.Revision {
				continue
			}
			count++
			nonce := strconv.Itoa(count) + "/" + strconv.FormatUint(world.Revision, 10)
			if st.Send(world.response(typeURL, nonce).Encode(delta)) != nil {
				return
			}
			wanted[typeURL], sent[nonce] = world.Revision, typeURL
		}
		select {
		case <-changed:
		case req, ok := <-requests:
			if !ok {
				return
			}
			p.answered(req, sent[req.Nonce])
			if _, known := wanted[req.TypeURL]; !known {
				wanted[req.TypeURL] = 0
			}
		}
	}
}

func (w World) response(typeURL, nonce string) xdswire.Response {
	version := strconv.FormatUint(w.Revision, 10)
	res := xdswire.Response{TypeURL: typeURL, Version: version, Nonce: nonce}
	from := w.Listeners
	if typeURL == ClusterType {
		from = w.Clusters
	}
	for _, r := range from {
		res.Resources = append(res.Resources, xdswire.Resource{Name: r.Name, Version: version, Body: r.Body})
	}
	return res
}

// answered notes what Envoy said to a response of typeURL, "" if to none.
func (p *Pilot) answered(req xdswire.Request, typeURL string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if req.NodeID != "" {
		p.nodes = append(p.nodes, req.NodeID)
	}
	if typeURL == "" {
		return
	}
	if req.IsRefusal {
		p.refused = append(p.refused, req.Refused)
	} else if _, rev, ok := cut(req.Nonce); ok {
		p.acked[typeURL] = rev
	}
	close(p.acks)
	p.acks = make(chan struct{})
}

func cut(nonce string) (count string, revision uint64, ok bool) {
	for i := range nonce {
		if nonce[i] == '/' {
			n, err := strconv.ParseUint(nonce[i+1:], 10, 64)
			return nonce[:i], n, err == nil
		}
	}
	return "", 0, false
}
