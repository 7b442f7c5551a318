package citadelca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/file"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/memory"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/provided"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/keystore/vault"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/policy"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/server"
)

// Config is the service's settings, as in its YAML file.
type Config struct {
	Listen      rpc.Config       `yaml:"listen"`
	Telemetry   telemetry.Config `yaml:"telemetry"`
	TrustDomain string           `yaml:"trustDomain" help:"trust domain of every identity; that of an existing authority cannot change"`
	ID          string           `yaml:"id" help:"our own SPIFFE ID; empty for the one of account citadel-ca in outrigger-system"`
	State       string           `yaml:"state" help:"folder for join tokens, what was issued, and what the key store keeps; mode 0700"`
	TTL         time.Duration    `yaml:"ttl" help:"lifetime of a certificate if none is asked for"`
	MaxTTL      time.Duration    `yaml:"maxTTL" help:"longest lifetime of a certificate; more is cut down to it"`
	Limit       Limit            `yaml:"limit"`
	Keystore    Keystore         `yaml:"keystore"`
}

// Limit bounds the requests of one caller: one identity, or one address without one.
type Limit struct {
	Rate  float64 `yaml:"rate" help:"certificate requests a second of one caller"`
	Burst int     `yaml:"burst" help:"certificate requests at once of one caller"`
}

// Keystore says where the authority's key is. Only the part of its kind counts.
type Keystore struct {
	Kind     string          `yaml:"kind" help:"file, vault, provided, or memory (lost at a restart, and all trust with it)"`
	File     file.Config     `yaml:"file"`
	Vault    vault.Config    `yaml:"vault"`
	Provided provided.Config `yaml:"provided"`
}

// DefaultConfig keeps the authority in a sealed file, and serves nowhere.
func DefaultConfig() Config {
	return Config{
		Telemetry:   telemetry.DefaultConfig(),
		TrustDomain: "cluster.local",
		State:       "/var/lib/outrigger/citadel-ca",
		TTL:         24 * time.Hour,
		MaxTTL:      24 * time.Hour,
		Limit:       Limit{Rate: 10, Burst: 50},
		Keystore:    Keystore{Kind: "file", Vault: vault.DefaultConfig()},
	}
}

// settings is what the text of a Config means.
type settings struct {
	id    spiffe.ID
	rules policy.Rules
}

// check reports all mistakes together.
func (c Config) check() (settings, error) {
	var s settings
	var errs []error
	var err error
	if c.ID == "" {
		s.id, err = spiffe.New(c.TrustDomain, "outrigger-system", Name)
	} else if s.id, err = spiffe.Parse(c.ID); err == nil && s.id.TrustDomain() != c.TrustDomain {
		err = fmt.Errorf("id %s is not of trustDomain %s", c.ID, c.TrustDomain)
	}
	errs = append(errs, err)
	if err == nil {
		s.rules, err = policy.NewRules(s.id, c.TTL, c.MaxTTL)
		errs = append(errs, err)
	}
	if c.State == "" {
		errs = append(errs, errors.New("state: a folder must be given"))
	}
	if c.Limit.Rate <= 0 || c.Limit.Burst < 1 {
		errs = append(errs, fmt.Errorf("limit: rate %g and burst %d: want more than 0 and 1 or more", c.Limit.Rate, c.Limit.Burst))
	}
	return s, errors.Join(errs...)
}

// store returns how to open the key store of the configured kind.
func (c Config) store(id spiffe.ID, log *slog.Logger) (func(context.Context) (server.Store, error), error) {
	k := c.Keystore
	switch k.Kind {
	case "file":
		if k.File.Path == "" {
			k.File.Path = filepath.Join(c.State, "authority.sealed")
		}
		if k.File.KeyFile == "" && k.File.PassphraseFile == "" && k.File.Create {
			k.File.KeyFile = filepath.Join(c.State, "authority.key")
		}
		return func(context.Context) (server.Store, error) { return file.Open(k.File, id, time.Now()) }, nil
	case "memory":
		return func(context.Context) (server.Store, error) { return memory.Create(id, time.Now()) }, nil
	case "provided":
		return func(context.Context) (server.Store, error) { return provided.Open(k.Provided, id, time.Now()) }, nil
	case "vault":
		k.Vault.State = filepath.Join(c.State, "vault-authority.json")
		return func(ctx context.Context) (server.Store, error) { return vault.Open(ctx, k.Vault, id, time.Now(), log) }, nil
	}
	return nil, fmt.Errorf("keystore.kind %q: want file, memory, provided or vault", k.Kind)
}
