package server

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

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
	for n, want := range map[int]string{maxSets: "", maxSets + 1: fmt.Sprintf("%d entries, at most %d", maxSets+1, maxSets)} {
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
