// Package identity keeps a process's mesh certificate: gets the first one for a
// proof, renews it at half life, keeps it on disk, and makes TLS settings of it. In:
// citadel-ca's answers. Out: the current Certificate, and a signal when it changes.
// It uses only the standard library, because the smallest processes of the mesh use
// it, and it never hands out an identity that it was not configured for.
package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Config is what a Source needs to know.
type Config struct {
	// ID is the identity to get.
	ID spiffe.ID
	// Authority is citadel-ca's REST address, "https://host:port".
	Authority string
	// AuthorityID is the identity that citadel-ca must show.
	AuthorityID spiffe.ID
	// Dir keeps the certificate over restarts; it is made with mode 0700. Empty
	// keeps it in memory only.
	Dir string
	// TTL is the lifetime to ask for; 0 leaves it to citadel-ca.
	TTL time.Duration
}

// Source holds the current certificate. All methods are safe for concurrent use.
type Source struct {
	cfg    Config
	prover Prover // nil if there is nobody to ask for a proof
	log    *slog.Logger

	mu      sync.Mutex
	current *Certificate
	bundle  *x509.CertPool // trust before the first certificate
	changed chan struct{}  // closed and replaced at each change
	waiting string
}

// New returns a Source that has nothing yet. prover may be nil.
func New(cfg Config, prover Prover, log *slog.Logger) *Source {
	return &Source{cfg: cfg, prover: prover, log: log, changed: make(chan struct{}), waiting: "a first certificate"}
}

// Current returns the certificate in use, nil before the first.
func (s *Source) Current() *Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Changed returns a channel that is closed when a certificate newer than the current
// one is there. Get the channel before Current to miss nothing.
func (s *Source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Waiting says what the source is waiting for, "" when it has a valid certificate and
// nothing is overdue. For people.
func (s *Source) Waiting() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// Wait returns the first certificate, or ctx's error with what was being waited for.
func (s *Source) Wait(ctx context.Context) (*Certificate, error) {
	for {
		changed := s.Changed()
		if c := s.Current(); c != nil {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w", s.Waiting(), ctx.Err())
		}
	}
}

// Run gets and renews certificates until ctx ends. It returns only ctx's end: that
// citadel-ca is away is said by Waiting and logged, and tried again.
func (s *Source) Run(ctx context.Context) error {
	if c := s.load(); c != nil {
		s.set(c)
	}
	for wait := time.Duration(0); ; {
		if c := s.Current(); c != nil && wait == 0 {
			wait = time.Until(renewAt(c.NotBefore, c.NotAfter, rand.Float64()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if err := s.renew(ctx); err != nil && ctx.Err() == nil {
			wait = s.failed(err, wait)
			continue
		}
		wait = 0
	}
}

// failed notes why there is no certificate and returns how long to wait: 200 ms at
// first, doubling to 5 s, so that an authority that came back is found soon.
func (s *Source) failed(err error, last time.Duration) time.Duration {
	s.mu.Lock()
	first := s.waiting != err.Error()
	s.waiting = err.Error()
	has := s.current != nil
	s.mu.Unlock()
	if first {
		s.log.Warn("certificate not renewed", "id", s.cfg.ID.String(), "error", err, "has_one", has)
	}
	if last < 200*time.Millisecond || last > 5*time.Second {
		return 200 * time.Millisecond
	}
	return min(2*last, 5*time.Second)
}

// renew asks once: with the current certificate if it is valid, else with a proof.
func (s *Source) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var token string
	current := s.Current()
	if current != nil && time.Now().After(current.NotAfter) {
		current = nil
	}
	if current == nil {
		p, err := s.prove(ctx)
		if err != nil {
			return err
		}
		token = p.Token
	}
	c, err := s.sign(ctx, current, token)
	if err != nil {
		return err
	}
	if err := s.store(c); err != nil {
		return err
	}
	s.set(c)
	s.log.Info("certificate", "id", c.ID.String(), "not_after", c.NotAfter)
	return nil
}

func (s *Source) prove(ctx context.Context) (Proof, error) {
	if s.prover == nil {
		return Proof{}, errors.New("a join token: none was handed to this process")
	}
	p, err := s.prover.Prove(ctx)
	if err != nil {
		return Proof{}, err
	}
	if p.ID != s.cfg.ID.String() {
		return Proof{}, fmt.Errorf("join token is for %s, this process is %s", p.ID, s.cfg.ID)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(p.Bundle)) {
		return Proof{}, errors.New("join token came without a trust bundle")
	}
	s.mu.Lock()
	s.bundle = pool
	s.mu.Unlock()
	return p, nil
}

func (s *Source) set(c *Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.waiting = c, ""
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Source) file() string { return filepath.Join(s.cfg.Dir, "identity.pem") }

// load returns the stored certificate if it is still good for the configured ID.
func (s *Source) load() *Certificate {
	if s.cfg.Dir == "" {
		return nil
	}
	data, err := os.ReadFile(s.file())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var c *Certificate
	if err == nil {
		c, err = unmarshal(data, time.Now())
	}
	if err == nil && c.ID != s.cfg.ID {
		err = fmt.Errorf("it is of %s", c.ID)
	}
	if err != nil {
		s.log.Warn("stored certificate not used", "file", s.file(), "error", err)
		return nil
	}
	return c
}

// store replaces the file on disk in one step; readers see the old or the new one.
func (s *Source) store(c *Certificate) error {
	if s.cfg.Dir == "" {
		return nil
	}
	data, err := c.marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	return replace(s.file(), data)
}

func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".identity-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("keep certificate: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
