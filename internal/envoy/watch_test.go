package envoy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// standin answers as an Envoy would whose listeners, clusters and certificate are there.
type standin struct {
	mu           sync.Mutex
	hung         bool // accepts questions, and answers none
	late         int  // of the next questions, as many are answered too late
	brief        bool // has no more than small answers
	says         string
	certificate  time.Duration // its life
	small, whole int           // questions
	lines        []string      // that were logged
}

// set changes how it answers.
func (e *standin) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

// Write implements io.Writer for the log.
func (e *standin) Write(line []byte) (int, error) {
	e.set(func() { e.lines = append(e.lines, string(line)) })
	return len(line), nil
}

func (e *standin) answer(ctx context.Context, how func()) error {
	inTime := false
	e.set(func() {
		how()
		inTime = !e.hung && e.late == 0
		e.late = max(0, e.late-1)
	})
	if inTime {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}

func (e *standin) Live(ctx context.Context) (live bool, err error) {
	err = e.answer(ctx, func() {
		e.small++
		live = e.says == "LIVE"
	})
	return live, err
}

func (e *standin) State(ctx context.Context) (s State, err error) {
	late := e.answer(ctx, func() {
		e.whole++
		if e.brief {
			err = errors.New("status 500")
			return
		}
		s = State{
			Info: Info{State: e.says, NodeID: "n"}, LDS: 1, CDS: 1,
			Listeners:    []Listener{{"l", netip.MustParseAddrPort("10.77.0.1:8080")}},
			Certificates: []LoadedCertificate{{URIs: []string{"spiffe://c/ns/n/sa/a"}, NotAfter: time.Now().Add(e.certificate)}},
		}
	})
	return s, errors.Join(err, late)
}

// watched is a Watch of a standin.
type watched struct {
	*Watch
	envoy *standin
}

// watch runs a Watch of an Envoy that was started, or taken over, and is ready.
func watch(t *testing.T, earlier bool) *watched {
	t.Helper()
	w := &watched{envoy: &standin{says: "LIVE", certificate: time.Hour}}
	log := slog.New(slog.NewTextHandler(w.envoy, nil))
	process := NewProcess(ProcessConfig{}, nil, log)
	process.earlier = earlier
	process.set(&handle{proc: &os.Process{Pid: 7}})
	w.Watch = NewWatch(nil, process, Wanted{
		NodeID: "n", Identity: "spiffe://c/ns/n/sa/a", Listeners: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:8080")},
	}, log)
	w.admin = w.envoy
	go func() { _ = w.Run(t.Context()) }()
	w.says(t, "once asked", "")
	w.forget()
	return w
}

func (w *watched) says(t *testing.T, when, want string) {
	t.Helper()
	synctest.Wait()
	if _, waiting := w.State(); waiting != want {
		t.Errorf("%s: it waits for %q, want %q", when, waiting, want)
	}
}

// forget begins to count anew.
func (w *watched) forget() {
	synctest.Wait()
	w.envoy.set(func() { w.envoy.small, w.envoy.whole, w.envoy.lines = 0, 0, nil })
}

func (w *watched) logged(t *testing.T, lines int) {
	t.Helper()
	synctest.Wait()
	w.envoy.set(func() {
		if len(w.envoy.lines) != lines {
			t.Errorf("logged %q, want %d lines", w.envoy.lines, lines)
		}
	})
}

func TestHungEnvoyIsNotReadySoonAndOnceMoreWhenItAnswers(t *testing.T) {
	for name, earlier := range map[string]bool{"started": false, "taken over": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, earlier)
				time.Sleep(9 * time.Second)
				w.envoy.set(func() { w.envoy.hung = true })
				time.Sleep(askReady + 2*liveTimeout + askStarting)
				w.says(t, "hung", "Envoy: it does not answer")
				if !w.Known() {
					t.Error("that it hangs is not known")
				}
				time.Sleep(time.Minute)
				w.says(t, "hung for long", "Envoy: it does not answer")
				w.logged(t, 1)
				w.envoy.set(func() { w.envoy.hung = false })
				time.Sleep(adminTimeout + askStarting)
				w.says(t, "going on", "")
				w.logged(t, 2)
			})
		})
	}
}

func TestOneLateAnswerIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, false)
		for range 20 { // in front of small questions and of whole ones
			w.envoy.set(func() { w.envoy.late = 1 })
			changed := w.Changed()
			time.Sleep(askReady + adminTimeout)
			select {
			case <-changed:
				_, waiting := w.State()
				t.Fatalf("after one late answer: it waits for %q", waiting)
			default:
			}
		}
		w.logged(t, 0)
		w.envoy.set(func() { w.envoy.late = 2 })
		time.Sleep(askReady + 2*adminTimeout)
		w.logged(t, 2) // not ready, and, as the third answer is in time, ready
	})
}

func TestReadyEnvoyIsAskedLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.envoy.set(func() {
			if w.envoy.small != 30 || w.envoy.whole != 6 {
				t.Errorf("in a minute: %d small questions and %d whole ones, want 30 and 6", w.envoy.small, w.envoy.whole)
			}
		})
		w.logged(t, 0)
	})
}

func TestWhatAReadyEnvoySaysIsSeenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, false)
		w.envoy.set(func() { w.envoy.says = "DRAINING" })
		time.Sleep(askReady)
		w.says(t, "draining", "Envoy: it says DRAINING")
	})
}

// A certificate that ended since everything was asked may have been renewed since.
func TestRenewedCertificateIsAskedForBeforeItIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, false)
		w.envoy.set(func() { w.envoy.certificate = 3 * time.Second })
		time.Sleep(askWhole)
		w.forget()
		time.Sleep(time.Minute)
		w.says(t, "renewed again and again", "")
		w.logged(t, 0)
	})
}

// A whole answer that fails is as good a miss as a small one.
func TestEnvoyThatAnswersOnlySmallQuestionsIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, false)
		w.envoy.set(func() { w.envoy.brief = true })
		time.Sleep(askWhole + askStarting)
		w.says(t, "when everything is due", "Envoy: it does not answer")
	})
}
