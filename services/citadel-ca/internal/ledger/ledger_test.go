package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/authn"
)

const domain = "cluster.local"

func start() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func token(n int) authn.Token {
	var random [authn.Entropy]byte
	random[0], random[1] = byte(n), byte(n>>8)
	t, _ := authn.New(random)
	return t
}

func record(t *testing.T, ttl time.Duration) authn.Record {
	t.Helper()
	id, err := spiffe.New(domain, "default", "reviews")
	if err != nil {
		t.Fatal(err)
	}
	return authn.Record{ID: id, Expires: start().Add(ttl)}
}

func reopen(t *testing.T, dir string, old *Ledger, now time.Time) *Ledger {
	t.Helper()
	if old != nil {
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l, err := open(dir, domain, now, 20, 30)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func add(t *testing.T, l *Ledger, n int, ttl time.Duration) {
	t.Helper()
	if err := l.Add(token(n), record(t, ttl), start()); err != nil {
		t.Fatalf("token %d: %v", n, err)
	}
}

func TestTokensSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	l := reopen(t, dir, nil, start())
	add(t, l, 1, time.Hour)
	add(t, l, 2, time.Hour)
	add(t, l, 3, time.Hour)
	if err := errors.Join(l.Redeem(token(2).Name()), l.Redeem(token(3).Name()), l.Release(token(3).Name())); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once from the lines as written, once as compacted
		l = reopen(t, dir, l, start())
		for n, used := range map[int]bool{1: false, 2: true, 3: false} {
			want := record(t, time.Hour)
			want.Hash, want.Used = token(n).Hash(), used
			if got := l.Find(token(n).Name()); got != want {
				t.Errorf("token %d: got %+v, want %+v", n, got, want)
			}
		}
		if err := l.Redeem(token(2).Name()); fault.Of(err) != fault.Unauthenticated {
			t.Errorf("second use: got %v, want unauthenticated", err)
		}
	}
	if got := l.Find("nobody"); got != (authn.Record{}) {
		t.Errorf("unknown token: %+v", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestOneOfManyRedeems(t *testing.T) {
	l := reopen(t, t.TempDir(), nil, start())
	defer l.Close() //nolint:errcheck // read only from here
	add(t, l, 1, time.Hour)
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 8 {
		wg.Go(func() {
			if l.Redeem(token(1).Name()) == nil {
				mu.Lock()
				good++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if good != 1 {
		t.Errorf("%d of 8 redeemed one token, want 1", good)
	}
}

func TestTheNumberOfTokensIsBounded(t *testing.T) {
	dir := t.TempDir()
	l := reopen(t, dir, nil, start())
	for n := range 20 {
		add(t, l, n, time.Hour)
	}
	err := l.Add(token(20), record(t, time.Hour), start())
	if fault.Of(err) != fault.Exhausted {
		t.Errorf("one too many: %v, want exhausted", err)
	}
	if err := l.Redeem(token(0).Name()); err != nil {
		t.Fatal(err)
	}
	add(t, l, 20, time.Hour)
	if err := l.Add(token(21), record(t, 2*time.Hour), start().Add(time.Hour)); err != nil {
		t.Errorf("after the others expired: %v", err)
	}
	if got := l.Find(token(5).Name()); !got.ID.IsZero() {
		t.Errorf("expired token is kept: %+v", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	l := reopen(t, dir, nil, start())
	defer l.Close() //nolint:errcheck // read only from here
	for n := range 3000 {
		add(t, l, n, time.Hour)
		if err := l.Redeem(token(n).Name()); err != nil {
			t.Fatal(err)
		}
	}
	if l.log.lines > 2*len(l.tokens)+slack+2 {
		t.Errorf("%d lines for %d tokens", l.log.lines, len(l.tokens))
	}
	if len(l.tokens) > 2*20+slack+1 {
		t.Errorf("%d used tokens are remembered", len(l.tokens))
	}
	if got := l.Find(token(2999).Name()); !got.Used {
		t.Errorf("last token: %+v, want used", got)
	}
}

func TestATornLineIsCutOff(t *testing.T) {
	for name, tail := range map[string]string{
		"half a record": `{"op":"use","na`, "zeros": "\x00\x00\x00\x00", "a whole one without its end": `{"op":"rubbish"}`,
	} {
		dir := t.TempDir()
		l := reopen(t, dir, nil, start())
		add(t, l, 1, time.Hour)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "tokens.log")
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(bytes.Clone(before), tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		l = reopen(t, dir, nil, start())
		if err := l.Redeem(token(1).Name()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l = reopen(t, dir, l, start())
		if !l.Find(token(1).Name()).Used {
			t.Errorf("%s: a use written behind it is lost", name)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDamageIsRefusedWithItsLine(t *testing.T) {
	for name, line := range map[string]string{
		"rubbish":               "}{",
		"unknown record":        `{"op":"dance"}`,
		"use of nothing":        `{"op":"use","name":"00"}`,
		"free of nothing":       `{"op":"free","name":"00"}`,
		"token without hash":    `{"op":"add","name":"00","id":"spiffe://cluster.local/ns/a/sa/b","expires":"2026-01-02T03:04:05Z"}`,
		"token without name":    `{"op":"add","name":"00","hash":"00","id":"x"}`,
		"token without expiry":  `{"op":"add","name":"00","id":"spiffe://cluster.local/ns/a/sa/b","hash":"` + strings.Repeat("00", 32) + `"}`,
		"the same token, twice": `{"op":"add","name":"0000000000000000","id":"spiffe://cluster.local/ns/a/sa/b","expires":"2026-01-02T03:04:05Z","hash":"` + strings.Repeat("00", 32) + `"}`,
	} {
		dir := t.TempDir()
		l := reopen(t, dir, nil, start())
		add(t, l, 0, time.Hour)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, "tokens.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(f, line); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err = Open(dir, domain, start()); err == nil || !strings.Contains(err.Error(), "tokens.log:3: ") {
			t.Errorf("%s: got %v, want a refusal with the line", name, err)
		}
	}
}

func TestTheFolderIsTakenOnceAndForOneTrustDomain(t *testing.T) {
	dir := t.TempDir()
	l := reopen(t, dir, nil, start())
	if _, err := Open(dir, domain, start()); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, "example.org", start())
	if err == nil || !strings.Contains(err.Error(), "trust domain cluster.local, the configured one is example.org") {
		t.Errorf("another trust domain: %v", err)
	}
	l = reopen(t, dir, nil, start()) // the refusals have freed it
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestFilesAreOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	l := reopen(t, dir, nil, start())
	add(t, l, 1, time.Hour)
	if err := l.Issued("01", "x", "", start()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{".", "tokens.log", "issued.log", "lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = fmt.Sprintf("%04o", info.Mode().Perm())
	}
	if d := cmp.Diff(map[string]string{".": "0700", "tokens.log": "0600", "issued.log": "0600", "lock": "0600"}, got); d != "" {
		t.Errorf("modes (-want +got)\n%s", d)
	}
}

func TestIssuedIsCountedOverRestartsAndRotated(t *testing.T) {
	dir := t.TempDir()
	l := reopen(t, dir, nil, start())
	for n := range 75 { // two turns of 30
		if err := l.Issued(fmt.Sprintf("%032x", n), "spiffe://cluster.local/ns/default/sa/x", "t", start()); err != nil {
			t.Fatal(err)
		}
		if n%10 == 0 {
			l = reopen(t, dir, l, start())
		}
	}
	l = reopen(t, dir, l, start())
	if got := l.Count(); got != 75 {
		t.Errorf("count %d, want 75", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for name, most := range map[string]int{"issued.log": 30, "issued.log.1": 30} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if n := bytes.Count(data, []byte("\n")); err != nil || n == 0 || n > most {
			t.Errorf("%s: %d lines, %v; want 1 to %d", name, n, err, most)
		}
	}
}

// A full disk must not turn a refused record into half a line before the next.
func TestARecordThatCannotBeWrittenIsNotThere(t *testing.T) {
	dir := t.TempDir()
	l := reopen(t, dir, nil, start())
	add(t, l, 1, time.Hour)
	whole := l.log.file
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.log.file = full
	if err := l.Redeem(token(1).Name()); fault.Of(err) != fault.Unavailable || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("redeem on a full disk: got %v, want unavailable for lack of space", err)
	}
	if l.Find(token(1).Name()).Used {
		t.Error("token counts as used though that was not written")
	}
	// A device cannot be cut back, so the file's state is unknown: no more writing.
	if err := l.Redeem(token(1).Name()); fault.Of(err) != fault.Unavailable || l.Broken() == nil {
		t.Errorf("after it: got %v, broken %v; want both", err, l.Broken())
	}
	if err := errors.Join(full.Close(), whole.Close(), l.issued.close(), l.lock.Close()); err != nil {
		t.Fatal(err)
	}
	l = reopen(t, dir, nil, start())
	if err := l.Redeem(token(1).Name()); err != nil {
		t.Errorf("after a restart with space: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
