package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// mint is an authority that numbers its tokens and refuses its first calls.
type mint struct {
	refusals atomic.Int64
	minted   atomic.Int64
}

func (m *mint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/bundle":
		io.WriteString(w, `{"bundlePem":"roots"}`)
	case "POST /v1/jointokens":
		var in map[string]string
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in["ttl"] != "300s" || m.refusals.Add(-1) >= 0 {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"token":"%d for %s"}`, m.minted.Add(1), in["id"])
	default:
		http.NotFound(w, r)
	}
}

// joined serves a process and returns the process's end.
func joined(t *testing.T, authority fleet.Authority) (process net.Conn, done <-chan struct{}) {
	t.Helper()
	process, own := net.Pipe()
	t.Cleanup(func() { process.Close() })
	process.SetDeadline(time.Now().Add(10 * time.Second))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newJoiner(authority).serve(t.Context(), own, "spiffe://x/ns/y/sa/z")
	}()
	return process, ended
}

func startMint(t *testing.T, m *mint) fleet.Authority {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "ca")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: m}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return fleet.Authority{Socket: socket, UID: uint32(os.Geteuid())}
}

func next(t *testing.T, lines *bufio.Reader) proof {
	t.Helper()
	line, err := lines.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var p proof
	if err := json.Unmarshal(line, &p); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return p
}

func TestJoinerGivesAProofUnaskedAndAnotherWhenAsked(t *testing.T) {
	m := &mint{}
	m.refusals.Store(2)
	process, done := joined(t, startMint(t, m))
	lines := bufio.NewReader(process)
	for i := range 2 {
		want := proof{Token: fmt.Sprintf("%d for spiffe://x/ns/y/sa/z", i+1), ID: "spiffe://x/ns/y/sa/z", Bundle: "roots"}
		if diff := cmp.Diff(want, next(t, lines)); diff != "" {
			t.Errorf("proof %d (-want +got):\n%s", i+1, diff)
		}
		if i == 0 {
			if _, err := io.WriteString(process, "?\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	process.Close()
	<-done
}

func TestJoinerClosesOnNonsense(t *testing.T) {
	for _, nonsense := range []string{"give me one\n", strings.Repeat("?", 100), "\n"} {
		process, done := joined(t, startMint(t, &mint{}))
		next(t, bufio.NewReader(process))
		io.WriteString(process, nonsense) // it may be cut off in the middle
		<-done
		if n, err := process.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("after %q: read %d bytes, error %v; want a closed socket", nonsense, n, err)
		}
	}
}

func TestJoinerAsksOnlyTheRealAuthority(t *testing.T) {
	m := &mint{}
	authority := startMint(t, m)
	authority.UID++
	_, err := newJoiner(authority).mint(context.Background(), "spiffe://x/ns/y/sa/z")
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("uid %d answers", os.Geteuid())) {
		t.Errorf("error is %v, want one about the uid", err)
	}
	if got := m.minted.Load(); got != 0 {
		t.Errorf("%d tokens minted, want none", got)
	}
}
