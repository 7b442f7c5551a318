package server

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/limit"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/attr"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/dispatch"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

func TestAMessageHasSoManyEntriesAndNoMore(t *testing.T) {
	documents, err := os.ReadFile("testdata/bench.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := newMesh(t, documents)
	for n, want := range map[int]string{maxSets: "", maxSets + 1: fmt.Sprintf("more entries than the %d", maxSets)} {
		body := `{"node": "sidecar~10.77.1.4~ratings-v1.default~cluster.local", "log": "outrigger", "entries": [{}` + strings.Repeat(",{}", n-1) + "]}"
		_, err := m.log(as(t.Context(), "bookinfo-ratings"), []byte(body))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d entries: %v, want %q", n, err, want)
		}
	}
}

// counted counts what it is told.
type counted struct {
	engine
	reports int
}

func (c *counted) Report(context.Context, *attr.Request) error {
	c.reports++
	return nil
}

// A proxy that ends has said what it had to say.
func TestEntriesOfASenderThatHasGoneAreTaken(t *testing.T) {
	told := &counted{}
	s, err := New(told, dispatch.NewWorld(), func(spiffe.ID) bool { return false }, telemetry.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.AccessLog().take(ctx, &registry.Workload{Name: "web", Namespace: "default"}, make([][]byte, 100*burst), time.Hour)
	if told.reports != 100*burst {
		t.Errorf("%d entries were taken, want %d", told.reports, 100*burst)
	}
}

// held reports at whom it was told, and goes on when it is let.
type held struct {
	engine
	told chan string
	goOn chan struct{}
}

func (h *held) Report(_ context.Context, req *attr.Request) error {
	h.told <- req.Text("destination.name")
	<-h.goOn
	return nil
}

func TestAHostThatSendsByManyStreamsWaitsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{told: make(chan string, 10), goOn: make(chan struct{})}
		s, err := New(h, dispatch.NewWorld(), func(spiffe.ID) bool { return false }, telemetry.Discard())
		if err != nil {
			t.Fatal(err)
		}
		s.turns = limit.NewTurns[host](1)
		var all sync.WaitGroup
		send := func(name, address string) {
			ctx := rpc.WithCaller(t.Context(), rpc.Caller{Address: address})
			all.Go(func() {
				s.AccessLog().take(ctx, &registry.Workload{Name: name, Namespace: "default"}, make([][]byte, 1), 0)
			})
			synctest.Wait()
		}
		send("busy", "10.77.1.4:4000")
		send("busy", "10.77.1.4:4001")
		send("other", "10.77.1.5:4000")
		if got := []string{<-h.told, <-h.told}; !slices.Equal(got, []string{"busy", "other"}) || len(h.told) > 0 {
			t.Errorf("first to be told are %v and %d more, want one of each host", got, len(h.told))
		}
		close(h.goOn)
		all.Wait()
		if got := <-h.told; got != "busy" {
			t.Errorf("then %s, want the other stream of busy", got)
		}
	})
}

func TestNobodySpeaksForAnotherOfItsAccount(t *testing.T) {
	documents, err := os.ReadFile("testdata/bench.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := newMesh(t, documents)
	id, err := spiffe.New("cluster.local", "default", "bookinfo-reviews")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{}
	for address, want := range map[string]bool{
		"10.77.1.2:4711": true,  // its own
		"10.77.1.3:4711": false, // of reviews-v3
		"10.77.9.9:4711": true,  // of nobody
	} {
		_, err := s.speaksFor(m.world.Snapshot(), rpc.Caller{ID: id, Address: address}, "reviews-v2.default")
		if (err == nil) != want || err != nil && fault.Of(err) != fault.Denied {
			t.Errorf("a call from %s for reviews-v2: %v, want it taken: %v", address, err, want)
		}
	}
}

func TestPausesAreLessThanHalfOfTheWait(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		waited  time.Duration
		entries int
		want    time.Duration
	}{
		{0, 1000, 0},
		{time.Minute, 0, maxPause},
		{time.Minute, 1000, maxPause},
		{10 * time.Millisecond, 9 * burst, 500 * time.Microsecond},
		{10 * time.Microsecond, 99 * burst, 50 * time.Nanosecond},
	} {
		got := pause(c.waited, c.entries)
		if got != c.want {
			t.Errorf("after %v, %d entries: pauses of %v, want %v", c.waited, c.entries, got, c.want)
		}
		if all := got * time.Duration(c.entries/burst); all > c.waited/2 {
			t.Errorf("after %v, %d entries: pauses of %v altogether", c.waited, c.entries, all)
		}
	}
}
