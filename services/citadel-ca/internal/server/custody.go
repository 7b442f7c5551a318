package server

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
)

// Store is an authority with its key, as the packages below keystore have it.
type Store interface {
	signing
	keeper
}

// signing is what certificates are made with.
type signing interface {
	Authority() issue.Authority
	// Signer returns the key for one call, whose context bounds the wait.
	Signer(ctx context.Context) crypto.Signer
}

// keeper is the part of a Store that lives beside the calls.
type keeper interface {
	Run(ctx context.Context) error
	Ready() error
}

// Custody opens the store, and tries again while what it needs is away; until then
// calls are told to come back. Safe for concurrent use.
type Custody struct {
	open func(context.Context) (Store, error)
	log  *slog.Logger

	mu      sync.Mutex
	store   Store         // nil before it is open
	waiting error         // why it is not
	opened  chan struct{} // closed once store is there
}

// NewCustody returns a Custody that has not tried yet.
func NewCustody(open func(context.Context) (Store, error), log *slog.Logger) *Custody {
	return &Custody{open: open, log: log, opened: make(chan struct{}), waiting: errors.New("not opened yet")}
}

// Run opens the store and looks after it until ctx ends. An error is one that waiting
// does not mend.
func (c *Custody) Run(ctx context.Context) error {
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		store, err := c.open(ctx)
		if err == nil {
			c.set(store)
			return store.Run(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if fault.Of(err) != fault.Unavailable {
			return fmt.Errorf("authority key: %w", err)
		}
		c.note(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (c *Custody) set(s Store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store, c.waiting = s, nil
	close(c.opened)
	a := s.Authority()
	c.log.Info("authority key opened", "fingerprint", a.Fingerprint(), "not_after", a.Window().NotAfter)
}

func (c *Custody) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting.Error() != err.Error() {
		c.log.Warn("authority key not opened yet", "error", err)
	}
	c.waiting = err
}

// Current returns the store, or fault.Unavailable without the reason, which is not
// for everybody.
func (c *Custody) Current() (Store, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store == nil {
		return nil, fault.Unavailable.Errorf("the authority's key is not open yet")
	}
	return c.store, nil
}

// Wait returns the store as soon as it is open.
func (c *Custody) Wait(ctx context.Context) (Store, error) {
	select {
	case <-c.opened:
		return c.Current()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the authority's key: %w", ctx.Err())
	}
}

// Ready says what the store is waiting for or complains of.
func (c *Custody) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store == nil {
		return fmt.Errorf("authority key: %w", c.waiting)
	}
	if err := c.store.Ready(); err != nil {
		return fmt.Errorf("authority key: %w", err)
	}
	return nil
}
