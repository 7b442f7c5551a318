package identity

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Settings is the identity part of a service's settings, as text.
type Settings struct {
	ID          string        `yaml:"id" help:"SPIFFE ID of this process"`
	Authority   string        `yaml:"authority" help:"citadel-ca's REST address, https://host:port"`
	AuthorityID string        `yaml:"authorityID" help:"SPIFFE ID that citadel-ca must show"`
	Dir         string        `yaml:"dir" help:"directory that keeps the certificate over restarts"`
	TTL         time.Duration `yaml:"ttl" help:"lifetime to ask for; 0 leaves it to citadel-ca"`
}

// Config checks the settings.
func (s Settings) Config() (Config, error) {
	id, err := spiffe.Parse(s.ID)
	if err != nil {
		return Config{}, fmt.Errorf("identity.id: %w", err)
	}
	authority, err := spiffe.Parse(s.AuthorityID)
	if err != nil {
		return Config{}, fmt.Errorf("identity.authorityID: %w", err)
	}
	if !strings.HasPrefix(s.Authority, "https://") {
		return Config{}, fmt.Errorf("identity.authority %q: want https://host:port", s.Authority)
	}
	if s.TTL < 0 {
		return Config{}, fmt.Errorf("identity.ttl %s: want 0 or more", s.TTL)
	}
	return Config{ID: id, Authority: s.Authority, AuthorityID: authority, Dir: s.Dir, TTL: s.TTL}, nil
}

// Open returns a Source for the settings, fed by the join descriptor if the process
// inherited one.
func (s Settings) Open(log *slog.Logger) (*Source, error) {
	cfg, err := s.Config()
	if err != nil {
		return nil, err
	}
	in, err := Inherit()
	if err != nil {
		return nil, err
	}
	if in == nil {
		return New(cfg, nil, log), nil
	}
	return New(cfg, in, log), nil
}
