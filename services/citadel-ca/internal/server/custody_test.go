package server

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	cav1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/ca/v1"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/memory"
)

func TestCustodyWaitsForWhatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own, err := spiffe.New("cluster.local", "outrigger-system", "citadel-ca")
		if err != nil {
			t.Fatal(err)
		}
		var tries, back atomic.Int32
		c := NewCustody(func(context.Context) (Store, error) {
			if tries.Add(1); back.Load() == 0 {
				return nil, fault.Unavailable.Errorf("vault is away")
			}
			return memory.Create(own, time.Now())
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := c.Ready(); err == nil || !strings.Contains(err.Error(), "vault is away") {
			t.Errorf("ready: %v, want why not", err)
		}
		if _, err := c.Current(); fault.Of(err) != fault.Unavailable || strings.Contains(err.Error(), "vault") {
			t.Errorf("current: %v, want unavailable and no more", err)
		}
		if n := tries.Load(); n < 10 || n > 20 {
			t.Errorf("%d tries in a minute, want 10 to 20", n)
		}
		back.Store(1)
		if _, err := c.Wait(ctx); err != nil {
			t.Errorf("wait: %v", err)
		}
		if err := c.Ready(); err != nil {
			t.Errorf("open, and ready says %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestCustodyEndsWithWhatWaitingDoesNotMend(t *testing.T) {
	c := NewCustody(func(context.Context) (Store, error) { return nil, errors.New("key transit/keys/x was rotated") },
		slog.New(slog.DiscardHandler))
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "transit/keys/x was rotated") {
		t.Errorf("got %v, want the reason", err)
	}
}

func TestWithoutAKeyCallsAreToldToComeBack(t *testing.T) {
	b := newBench(t)
	reviews := id(t, "reviews")
	token := b.token(reviews)
	held := b.custody
	b.custody = NewCustody(nil, slog.New(slog.DiscardHandler))
	_, err := b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token})
	b.refused("sign", err, fault.Unavailable, "not open yet")
	_, err = b.GetBundle(t.Context(), nil)
	b.refused("bundle", err, fault.Unavailable, "not open yet")
	if st, err := b.GetStatus(t.Context(), nil); err != nil || st.GetKeyFingerprint() != "" {
		t.Errorf("status: %v, %v; want one without a key", st, err)
	}
	b.custody = held
	if _, err := b.Sign(b.from(spiffe.ID{}), &cav1.SignRequest{CsrPem: csrOf(t, reviews), JoinToken: token}); err != nil {
		t.Errorf("with the key: %v", err)
	}
}
