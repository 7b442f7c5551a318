package agent_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// registry is pilot's registration API.
type registry struct {
	mux     *http.ServeMux
	mu      sync.Mutex
	names   string         // the table, as a line of the stream
	changed chan struct{}  // closed and replaced by setNames
	log     []string       // "<method> <path> <state>" of what was asked
	entry   map[string]any // as it was put last
}

func newRegistry() *registry {
	r := &registry{mux: http.NewServeMux(), changed: make(chan struct{})}
	r.mux.HandleFunc("PUT /v1/workloads/{ns}/{name}", r.put)
	r.mux.HandleFunc("DELETE /v1/workloads/{ns}/{name}", r.put)
	r.mux.HandleFunc("GET /v1/names", r.watch)
	return r
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.mux.ServeHTTP(w, req) }

func (r *registry) put(w http.ResponseWriter, req *http.Request) {
	entry := map[string]any{}
	if req.Method == http.MethodPut {
		if err := json.NewDecoder(req.Body).Decode(&entry); err != nil {
			http.Error(w, `{"message":"bad"}`, http.StatusBadRequest)
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprint(req.Method, " ", req.URL.Path)
	if s, ok := entry["state"]; ok {
		line += fmt.Sprint(" ", s)
	}
	if n := len(r.log); n == 0 || r.log[n-1] != line {
		r.log = append(r.log, line)
	}
	r.entry = entry
	fmt.Fprint(w, `{"revision":"1"}`)
}

func (r *registry) watch(w http.ResponseWriter, req *http.Request) {
	for {
		r.mu.Lock()
		line, changed := r.names, r.changed
		r.mu.Unlock()
		if line != "" {
			fmt.Fprintln(w, line)
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-req.Context().Done():
			return
		}
	}
}

func (r *registry) setNames(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = line
	close(r.changed)
	r.changed = make(chan struct{})
}

// asked returns what was asked, repetitions left out.
func (r *registry) asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.log...)
}

// entryLost makes last say nothing until the entry is put again.
func (r *registry) entryLost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entry = nil
}

func (r *registry) last() map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entry
}
