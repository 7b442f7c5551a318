package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// heard is what a publisher reports and logs.
type heard struct {
	mu     sync.Mutex
	latest fleet.Snapshot
	log    bytes.Buffer
}

func (h *heard) report(r fleet.Report) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.latest = *r.Snapshot
	return nil
}

func (h *heard) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(line)
}

// now returns the latest snapshot and all that was logged.
func (h *heard) now() (fleet.Snapshot, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.latest, h.log.String()
}

// A folder in the place of the file that is to be moved there stands for a full disk:
// root could write anything else.
func TestAFileThatCannotBeWrittenDoesNotEndTheFleet(t *testing.T) {
	state := t.TempDir()
	path := filepath.Join(state, fleet.RunFolder, fleet.SnapshotFile)
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var h heard
		b := newBoard(fleet.Plan{Processes: []fleet.Process{{Name: "one"}}}, time.Now())
		p := newPublisher(fleet.Orders{Plan: fleet.Plan{State: state}}, b, h.report, slog.New(slog.NewTextHandler(&h, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		for range 5 {
			time.Sleep(rewrite)
		}
		b.update("one", time.Now(), func(s *fleet.Status) { s.Phase = fleet.Starting })
		synctest.Wait()
		latest, log := h.now()
		if latest.Processes[0].Phase != fleet.Starting || !strings.Contains(latest.Warning, fleet.SnapshotFile) {
			t.Errorf("reported while the file cannot be written: %+v, want the latest and a warning", latest)
		}
		if got := strings.Count(log, "fleet state is not written"); got != 1 {
			t.Errorf("logged %d times, want once:\n%s", got, log)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rewrite + time.Second)
		synctest.Wait()
		latest, _ = h.now()
		var written fleet.Snapshot
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &written)
		}
		if err != nil || written.Processes[0].Phase != fleet.Starting || latest.Warning != "" {
			t.Errorf("when it can be written again: %v, file %+v, warning %q; want the latest and none", err, written, latest.Warning)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestAFileThatIsRightIsNotWrittenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	write := func(text string) fs.FileInfo {
		t.Helper()
		if err := writeOwned(path, []byte(text), uint32(os.Getuid())); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := write("a: 1")
	if second := write("a: 1"); !os.SameFile(first, second) {
		t.Error("the same content: another file")
	}
	if third := write("a: 2"); os.SameFile(first, third) {
		t.Error("another content: the same file")
	}
}
