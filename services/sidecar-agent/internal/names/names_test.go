package names_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/dns"
	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/names"
)

// pilot hands out one stream after the other; nil is a refused connection.
type pilot struct {
	streams chan *io.PipeReader
	asked   []string
}

func (p *pilot) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked = append(p.asked, r.Method+" "+r.URL.String())
	select {
	case s := <-p.streams:
		if s == nil {
			return nil, errors.New("connection refused")
		}
		context.AfterFunc(r.Context(), func() { _ = s.CloseWithError(context.Cause(r.Context())) })
		return &http.Response{StatusCode: http.StatusOK, Body: s, Header: http.Header{}}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func table(revision int, address string) string {
	return fmt.Sprintf(`{"result":{"revision":"%d","names":[{"host":"reviews.default.svc.cluster.local","addresses":["%s"]}]}}`+"\n", revision, address)
}

// resolve returns the last byte of the only address of "reviews", -1 without a table,
// -2 without an address.
func resolve(t *testing.T, tab *dns.Table) int {
	t.Helper()
	if tab == nil {
		return -1
	}
	q := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07reviews\x00\x00\x01\x00\x01")
	b := dns.Answer(q, tab, dns.MaxUDP, 0)
	if binary.BigEndian.Uint16(b[6:]) != 1 {
		return -2
	}
	a, _ := netip.AddrFromSlice(b[len(b)-4:])
	return int(a.As4()[3])
}

func open(t *testing.T, dir string, p *pilot, renew func() <-chan struct{}) *names.Source {
	t.Helper()
	s := names.New(names.Config{
		Pilot: "https://pilot", File: filepath.Join(dir, "names.json"), Domain: "cluster.local", Namespace: "default",
	}, &http.Client{Transport: p}, renew, slog.New(slog.DiscardHandler))
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	return s
}

func never() <-chan struct{} { return nil }

func TestFollowsPilotAndKeepsTheLastTable(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := &pilot{streams: make(chan *io.PipeReader, 3)}
		first, second := newStream(), newStream()
		p.streams <- nil
		p.streams <- first.r
		p.streams <- second.r
		s := open(t, dir, p, never)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		expect := func(when string, want int, fresh bool) {
			t.Helper()
			synctest.Wait()
			if got := resolve(t, s.Table()); got != want || s.Fresh() != fresh {
				t.Errorf("%s: %d, fresh %v, want %d, %v", when, got, s.Fresh(), want, fresh)
			}
		}
		expect("before pilot", -1, false)
		time.Sleep(time.Second)
		first.write(table(1, "10.78.0.4"))
		expect("first table", 4, true)
		first.write(table(2, "10.78.0.5")[:40])
		expect("half of a table", 4, true)
		first.write(table(2, "10.78.0.5")[40:])
		expect("the other half", 5, true)
		_ = first.w.Close()
		expect("pilot gone", 5, false)
		time.Sleep(10 * time.Second)
		second.write("{\"error\":{\"message\":\"no world yet\"}}\n")
		expect("an error", 5, false)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if len(p.asked) < 3 || p.asked[0] != "GET https://pilot/v1/names" {
			t.Errorf("asked %q", p.asked)
		}
		if got := resolve(t, open(t, dir, p, never).Table()); got != 5 {
			t.Errorf("after a restart: %d, want 5", got)
		}
	})
	if st, err := os.Stat(filepath.Join(dir, "names.json")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v, want mode 0600", st, err)
	}
}

func TestNewerCertificateMeansNewerStream(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p := &pilot{streams: make(chan *io.PipeReader, 2)}
		first, second := newStream(), newStream()
		p.streams <- first.r
		p.streams <- second.r
		renewed := make(chan struct{})
		signal := (<-chan struct{})(renewed)
		s := open(t, dir, p, func() <-chan struct{} { return signal })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		first.write(table(1, "10.78.0.4"))
		synctest.Wait()
		signal = nil
		close(renewed)
		time.Sleep(time.Second)
		second.write(table(2, "10.78.0.6"))
		synctest.Wait()
		if got := resolve(t, s.Table()); got != 6 {
			t.Errorf("after the renewal: %d, want 6", got)
		}
		cancel()
		<-done
	})
}

func TestWhatPilotMustNotSend(t *testing.T) {
	for name, body := range map[string]string{
		"not JSON":      "nothing\n",
		"no address":    table(1, "10.78.0.400"),
		"without limit": `{"result":{"revision":"` + strings.Repeat("1", 17<<20),
	} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			p := &pilot{streams: make(chan *io.PipeReader, 1)}
			st := newStream()
			p.streams <- st.r
			s := open(t, dir, p, never)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			st.write(body)
			synctest.Wait()
			if s.Table() != nil || s.Fresh() {
				t.Errorf("%s: taken", name)
			}
			time.Sleep(time.Second) // it tries again
			if synctest.Wait(); len(p.asked) < 2 {
				t.Errorf("%s: asked %d times, want again", name, len(p.asked))
			}
			cancel()
			<-done
		})
	}
}

func TestDamagedFileIsSaidAndNotUsed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "names.json"), []byte(`{"names":[`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := names.New(names.Config{File: filepath.Join(dir, "names.json")}, nil, never, slog.New(slog.DiscardHandler))
	if err := s.Load(); err == nil || s.Table() != nil {
		t.Errorf("error %v, table %v, want an error and none", err, s.Table())
	}
}

// stream is a response's body that the test writes.
type stream struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func newStream() stream {
	r, w := io.Pipe()
	return stream{r, w}
}

// write does not wait for a reader that has gone.
func (s stream) write(text string) { _, _ = io.WriteString(s.w, text) }
