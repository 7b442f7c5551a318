// Package vault keeps an authority's key in Vault's Transit engine, which signs and
// never shows the key. In: Vault's address, a key's name and a token. Out: a store
// whose signatures are made by Vault. It never makes, changes or deletes a key: that
// is the operator's, as are Vault's policies. OpenBao speaks the same API.
//
// The key is made once, by somebody who may:
//
//	vault secrets enable transit
//	vault write transit/keys/outrigger-ca type=ecdsa-p256
//
// The token needs no more than this policy; "default" beside it lets the token renew
// itself:
//
//	path "transit/keys/outrigger-ca" { capabilities = ["read"] }
//	path "transit/sign/outrigger-ca" { capabilities = ["update"] }
//
// The authority's certificate lies in the state folder and is pinned to one version
// of the key. At each start the key's public half is compared with it, and a key that
// was rotated, deleted, replaced or made exportable is refused with its name: the
// certificates of the whole mesh hang on it.
package vault

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/provided"
)

// Config says where the key is.
type Config struct {
	Address     string        `yaml:"address" help:"Vault's address, https://host:port; http only to loopback"`
	Namespace   string        `yaml:"namespace" help:"Vault namespace"`
	Mount       string        `yaml:"mount" help:"where the Transit engine is mounted"`
	Key         string        `yaml:"key" help:"name of an ecdsa-p256 key that is not exportable"`
	KeyVersion  int           `yaml:"keyVersion" help:"sign with this version though the key was rotated; 0 refuses a rotated key"`
	TokenFile   string        `yaml:"tokenFile" help:"file of mode 0600 with a token that may read and sign with the key; read again when it changes"`
	CAFile      string        `yaml:"caFile" help:"roots to verify Vault's certificate, PEM; empty for the system's"`
	ServerName  string        `yaml:"serverName" help:"name in Vault's certificate if it is not the address's host"`
	Timeout     time.Duration `yaml:"timeout" help:"longest wait for an answer of Vault"`
	State       string        `yaml:"-"` // file that keeps the authority's certificate
	Certificate string        `yaml:"certificate" help:"certificate that the operator made for the key, PEM; empty makes a self-signed one"`
	Chain       string        `yaml:"chain" help:"certificates between it and the root, PEM"`
	Roots       string        `yaml:"roots" help:"root certificates to trust, PEM"`
}

// DefaultConfig names the key as the package comment does.
func DefaultConfig() Config {
	return Config{Mount: "transit", Key: "outrigger-ca", Timeout: 5 * time.Second}
}

// Store is an authority whose key is in Vault. Safe for concurrent use.
type Store struct {
	cfg       Config
	client    *api.Client
	token     *token
	log       *slog.Logger
	every     time.Duration // between checks
	authority issue.Authority
	version   int // of the key, which the certificate is pinned to

	mu      sync.Mutex
	problem error // of the last check
}

// checkEvery is how often a running store looks after its key and token. A key that
// is gone is noticed by the first signature anyhow; this finds it before.
const checkEvery = 15 * time.Second

// Open connects to Vault, checks the key against the certificate and signs once. On
// the first start it makes the certificate. Errors: fault.Unavailable if Vault cannot
// be reached now; anything else needs the operator, and the text says what for.
func Open(ctx context.Context, cfg Config, id spiffe.ID, now time.Time, log *slog.Logger) (*Store, error) {
	client, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, client: client, token: &token{path: cfg.TokenFile, client: client}, log: log, every: checkEvery}
	if _, err := s.token.load(); err != nil {
		return nil, err
	}
	if err := s.open(ctx, id, now); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, id spiffe.ID, now time.Time) error {
	key, err := s.readKey(ctx)
	if err != nil {
		return err
	}
	held, err := s.certificates()
	if err != nil {
		return err
	}
	fresh := held.cert == nil
	if fresh {
		held.version, err = key.first(s.cfg.KeyVersion)
	} else {
		held.version, err = key.pinned(held, s.cfg.KeyVersion)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name(), err)
	}
	s.version = held.version
	signer := &signer{ctx: ctx, store: s, public: key.public[held.version]}
	if fresh {
		if held.cert, err = selfSigned(id.TrustDomain(), signer, now); err != nil {
			return err
		}
		held.roots = []*x509.Certificate{held.cert}
	}
	if s.authority, err = issue.NewAuthority(id.TrustDomain(), held.cert, held.between, held.roots, now); err != nil {
		return fmt.Errorf("%s: %w", s.name(), err)
	}
	if err := issue.Trial(s.authority, id, signer, now); err != nil {
		return err
	}
	if fresh {
		return s.keep(held)
	}
	return nil
}

// held is the authority's certificate and what goes with it.
type held struct {
	cert           *x509.Certificate // nil before the first start
	between, roots []*x509.Certificate
	version        int    // 0 if not known yet
	from           string // the file, for errors
}

// certificates reads the operator's files, or else what an earlier start has kept.
func (s *Store) certificates() (held, error) {
	if s.cfg.Certificate == "" {
		return s.kept()
	}
	cert, between, roots, err := provided.Certificates(s.cfg.Certificate, s.cfg.Chain, s.cfg.Roots)
	if err != nil {
		return held{}, err
	}
	return held{cert: cert, between: between, roots: roots, from: s.cfg.Certificate}, nil
}

func selfSigned(domain string, key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	var serial [issue.SerialBytes]byte
	rand.Read(serial[:]) //nolint:errcheck // documented never to fail
	return issue.Root(domain, key, issue.Serial(serial), now)
}

// name is how errors call the key.
func (s *Store) name() string {
	return fmt.Sprintf("key %s in Vault at %s", s.cfg.path(), s.cfg.Address)
}

func (c Config) path() string { return strings.Trim(c.Mount, "/") + "/keys/" + c.Key }

func (c Config) signPath() string { return strings.Trim(c.Mount, "/") + "/sign/" + c.Key }

// Authority returns the certificates.
func (s *Store) Authority() issue.Authority { return s.authority }

// Signer returns the key for one call, whose context bounds the wait for Vault.
func (s *Store) Signer(ctx context.Context) crypto.Signer {
	return &signer{ctx: ctx, store: s, public: s.authority.Certificate().PublicKey}
}

// String keeps the token out of logs.
func (s *Store) String() string { return "authority " + s.authority.Fingerprint() }

// Ready says why the key could not sign when it was last looked at. That it was
// rotated meanwhile is no reason: the next start will refuse it, this one signs.
func (s *Store) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.problem, errRotated) {
		return nil
	}
	return s.problem
}

// Run renews the token, takes over a new one from its file, and looks after the key,
// until ctx ends. What it finds is logged when it changes: a store that is open goes
// on signing for as long as Vault does it.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		s.token.tend(ctx, s.log)
		s.note(s.check(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// check compares the key in Vault with what the store was opened with.
func (s *Store) check(ctx context.Context) error {
	key, err := s.readKey(ctx)
	if err != nil {
		return err
	}
	a := s.authority
	if _, err := key.pinned(held{cert: a.Certificate(), version: s.version, from: "the certificate in use"}, s.cfg.KeyVersion); err != nil {
		return fmt.Errorf("%s: %w", s.name(), err)
	}
	return nil
}

func (s *Store) note(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	s.mu.Lock()
	before := s.problem
	s.problem = err
	s.mu.Unlock()
	switch {
	case err == nil && before != nil:
		s.log.Info("vault key is in order again")
	case err != nil && (before == nil || before.Error() != err.Error()):
		s.log.Error("vault key", "error", err)
	}
}
