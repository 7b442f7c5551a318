package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/durable"
	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/issue"
)

// pin is the file that ties the authority's certificate to one version of the key.
type pin struct {
	Key         string `json:"key"`
	Version     int    `json:"version"`
	Certificate string `json:"certificate"` // PEM
}

// kept reads what an earlier start has kept; the zero held before the first.
func (s *Store) kept() (held, error) {
	text, err := durable.Read(s.cfg.State)
	if errors.Is(err, os.ErrNotExist) {
		return held{}, nil
	}
	if err != nil {
		return held{}, fmt.Errorf("authority certificate: %w", err)
	}
	var p pin
	if err := json.Unmarshal(text, &p); err != nil || p.Version < 1 {
		return held{}, fmt.Errorf("%s is damaged: bring it back from a backup; without it the authority's certificate is lost", s.cfg.State)
	}
	if p.Key != s.cfg.path() {
		return held{}, fmt.Errorf("%s belongs to key %s, the configured one is %s", s.cfg.State, p.Key, s.cfg.path())
	}
	certs, err := issue.Certificates([]byte(p.Certificate), s.cfg.State)
	if err != nil {
		return held{}, err
	}
	return held{cert: certs[0], roots: certs[:1], version: p.Version, from: s.cfg.State}, nil
}

func (s *Store) keep(h held) error {
	text, err := json.MarshalIndent(pin{Key: s.cfg.path(), Version: h.version, Certificate: string(issue.Encode(h.cert))}, "", "  ")
	if err != nil {
		return fmt.Errorf("authority certificate: %w", err)
	}
	if err := durable.Folder(filepath.Dir(s.cfg.State)); err != nil {
		return err
	}
	return durable.Replace(s.cfg.State, append(text, '\n'))
}
