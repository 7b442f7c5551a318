package agent_test

import (
	"net"
	"net/http"
	"sync"
	"testing"
)

// hangable is an application that answers every request, but not while it hangs.
type hangable struct {
	mu     sync.Mutex
	goesOn chan struct{} // closed while it does
}

func newHangable(t *testing.T, l net.Listener) *hangable {
	t.Helper()
	h := &hangable{goesOn: make(chan struct{})}
	h.goOn()
	s := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-served })
	return h
}

func (h *hangable) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	goesOn := h.goesOn
	h.mu.Unlock()
	select {
	case <-goesOn:
	case <-r.Context().Done():
	}
}

func (h *hangable) hang() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.goesOn = make(chan struct{})
}

func (h *hangable) goOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.goesOn)
}
