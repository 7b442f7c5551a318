package bus_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/bus/membus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// process is one Bucket in a synctest bubble, with all that was delivered.
type process struct {
	*bus.Bucket
	mu      sync.Mutex
	changes []bus.Change
	logs    strings.Builder
	stop    func()
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logs.Write(b)
}

func (p *process) logged(words string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.logs.String(), words)
}

func (p *process) got() []bus.Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

func start(t *testing.T, b *membus.Bus, dir string) *process {
	t.Helper()
	s, p := b.Store("config"), &process{}
	cfg := bus.Config{Name: "config", Keep: bus.Keep{Dir: dir}}
	p.Bucket = bus.Open(cfg, s, s, slog.New(slog.NewTextHandler(p, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx, func(c bus.Change) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changes = append(p.changes, c)
		}); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	synctest.Wait()
	return p
}

func rule(name string) bus.Write {
	return bus.Write{BasedOn: bus.Any, Envelope: &busv1.Envelope{
		Object: &configv1.Object{Kind: "Rule", Metadata: &configv1.Metadata{Name: name}},
	}}
}

func TestPatienceBeforeTheLastKnownGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := membus.New(), t.TempDir()
		p := start(t, b, dir)
		if _, err := p.Apply(t.Context(), []bus.Write{rule("a")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.stop()
		b.Stop()
		p = start(t, b, dir)
		time.Sleep(bus.DefaultPatience - time.Millisecond)
		synctest.Wait()
		if got := p.got(); len(got) != 0 {
			t.Errorf("before patience ended: %v", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got := p.got(); len(got) != 1 || !got[0].Stale || !got[0].Reset || len(got[0].Entries) != 1 {
			t.Errorf("after patience: %v, want the kept state", got)
		}
		time.Sleep(time.Minute)
		if n := p.logged("bus not read"); n != 1 {
			t.Errorf("a minute of absence was logged %d times, want once", n)
		}
		p.stop()
	})
}

func TestRefusalIsLoggedOnceAndEmptiesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := membus.New()
		p := start(t, b, t.TempDir())
		if _, err := p.Apply(t.Context(), []bus.Write{rule("a")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := len(p.got())
		b.Stop()
		b.Wipe()
		b.Start()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := p.logged("level=ERROR"); n != 1 {
			t.Errorf("%d errors in ten minutes, want one", n)
		}
		if got := p.got(); len(got) != before {
			t.Errorf("refused bus brought %v", got[before:])
		}
		if st := p.State(); st.Refused == "" || !st.Connected || st.Revision != 1 {
			t.Errorf("state %+v", st)
		}
		p.stop()
	})
}

// TestLostHintCostsOneReconcile uses a store whose hints never come.
func TestLostHintCostsOneReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := membus.New()
		w := start(t, b, "")
		deaf := &process{}
		deaf.Bucket = bus.Open(bus.Config{Name: "config"}, noHints{b.Store("config")}, nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			deaf.Run(ctx, func(c bus.Change) { //nolint:errcheck // ends with ctx
				deaf.mu.Lock()
				defer deaf.mu.Unlock()
				deaf.changes = append(deaf.changes, c)
			})
		}()
		synctest.Wait()
		if _, err := w.Apply(t.Context(), []bus.Write{rule("a")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(deaf.got()); n != 1 {
			t.Errorf("%d changes before the reconcile, want the first only", n)
		}
		time.Sleep(bus.DefaultReconcile + time.Millisecond)
		synctest.Wait()
		if n := len(deaf.got()); n != 2 {
			t.Errorf("%d changes after the reconcile, want 2", n)
		}
		cancel()
		<-done
		w.stop()
	})
}

type noHints struct{ *membus.Store }

func (noHints) Hints() <-chan struct{} { return nil }

func TestKeptFileIsPrivateAndADamagedOneIsPutAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := membus.New(), filepath.Join(t.TempDir(), "state")
		p := start(t, b, dir)
		if _, err := p.Apply(t.Context(), []bus.Write{rule("a")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.stop()
		file := filepath.Join(dir, "config.keep")
		for path, want := range map[string]os.FileMode{dir: 0o700, file: 0o600} {
			if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
				t.Errorf("%s: %v, %v; want mode %o", path, fi, err, want)
			}
		}
		if err := os.Truncate(file, 70); err != nil {
			t.Fatal(err)
		}
		p = start(t, b, dir)
		if got := p.got(); len(got) != 1 || got[0].Stale || len(got[0].Entries) != 1 {
			t.Errorf("with a damaged file: %v, want the bus's state", got)
		}
		if p.logged("kept state of the bus not used") != 1 {
			t.Errorf("damage was not logged: %s", p.logs.String())
		}
		if _, err := os.Stat(file + ".damaged"); err != nil {
			t.Errorf("damaged file is not put aside: %v", err)
		}
		p.stop()
	})
}

// TestRestoreFromAnOlderStateIsTakenByNewerReaders restores from a kept file that is
// behind what a running reader saw.
func TestRestoreFromAnOlderStateIsTakenByNewerReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := membus.New(), t.TempDir()
		old := start(t, b, dir)
		if _, err := old.Apply(t.Context(), []bus.Write{rule("a")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		old.stop()
		newer := start(t, b, "")
		for range 20 {
			if _, err := newer.Apply(t.Context(), []bus.Write{rule("b")}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		b.Stop()
		b.Wipe()
		b.Start()
		old = start(t, b, dir)
		if n, err := old.Restore(t.Context()); err != nil || n != 1 {
			t.Errorf("restore: %d, %v; want 1 object", n, err)
		}
		time.Sleep(bus.DefaultReconcile)
		synctest.Wait()
		if st := newer.State(); st.Refused != "" || st.Revision <= 21 {
			t.Errorf("newer reader: %+v, want a revision above 21", st)
		}
		old.stop()
		newer.stop()
	})
}

// TestRestoreCutOffIsNotReadAndCanBeRepeated stops the bus between two steps of a
// restore.
func TestRestoreCutOffIsNotReadAndCanBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := membus.New()
		p := start(t, b, "")
		if _, err := p.Apply(t.Context(), []bus.Write{rule("a"), rule("b")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.Stop()
		b.Wipe()
		b.Start()
		half := b.Store("config")
		if err := half.Create(t.Context(), bus.Creation{Identity: "other", First: 1, Restoring: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if st := p.State(); !strings.Contains(st.Refused, "being restored") {
			t.Errorf("half restored bus: state %+v", st)
		}
		if _, err := p.Apply(t.Context(), []bus.Write{rule("c")}); fault.Of(err) != fault.Precondition {
			t.Errorf("write to a half restored bus: %v", err)
		}
		if n, err := p.Restore(t.Context()); err != nil || n != 2 {
			t.Errorf("restore again: %d, %v", n, err)
		}
		synctest.Wait()
		if st := p.State(); st.Refused != "" || st.Revision <= 2 {
			t.Errorf("after the restore: %+v, want a revision above 2", st)
		}
		p.stop()
	})
}
