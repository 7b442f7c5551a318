// Package names keeps the mesh's table of names: follows pilot's stream of it, and
// keeps the last one on disk for the time when pilot is away. In: pilot's REST API and
// a file. Out: the current dns.Table. It answers no queries.
package names

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/services/sidecar-agent/internal/dns"
)

// Config says where names come from.
type Config struct {
	// Pilot is its REST address, "https://host:port".
	Pilot string
	// File keeps the last table.
	File string
	// Domain is the mesh's, Namespace the workload's own.
	Domain, Namespace string
}

// Source holds the current table. Safe for concurrent use.
type Source struct {
	cfg    Config
	client *http.Client
	renew  func() <-chan struct{}
	log    *slog.Logger
	table  atomic.Pointer[dns.Table]
	fresh  atomic.Bool
}

// New returns a Source that has nothing yet. client calls pilot, with no timeout of its
// own; renew returns a channel that is closed when the connection should be made anew,
// with a newer certificate.
func New(cfg Config, client *http.Client, renew func() <-chan struct{}, log *slog.Logger) *Source {
	return &Source{cfg: cfg, client: client, renew: renew, log: log}
}

// Table returns the newest table known, nil before the first ever.
func (s *Source) Table() *dns.Table { return s.table.Load() }

// Fresh reports whether pilot is telling names now.
func (s *Source) Fresh() bool { return s.fresh.Load() }

// Load takes the table that is on disk, if there is one.
func (s *Source) Load() error {
	data, err := os.ReadFile(s.cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("names: %w", err)
	}
	var u update
	if err := json.Unmarshal(data, &u.Result); err != nil {
		return fmt.Errorf("names in %s: %w", s.cfg.File, err)
	}
	return s.take(u)
}

// Run follows pilot until ctx ends. That pilot is away is no error.
func (s *Source) Run(ctx context.Context) error {
	said := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		before := s.table.Load()
		err := s.follow(ctx)
		s.fresh.Store(false)
		if ctx.Err() != nil {
			return nil
		}
		if s.table.Load() != before {
			pause = firstPause // it worked for a while
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			s.log.Warn("names not followed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
)

// update is pilot's WatchNamesResponse in JSON, in a line of the stream.
type update struct {
	Result struct {
		Revision string `json:"revision"`
		Names    []name `json:"names"`
	} `json:"result"`
	Error struct {
		Message string `json:"message"`
	} `json:"error"`
}

type name struct {
	Host      string       `json:"host"`
	Addresses []netip.Addr `json:"addresses"`
}

// follow reads one stream until it ends, for whatever reason; nil if that is because of
// a newer certificate.
func (s *Source) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.renew():
			cancel(errRenew)
		case <-ctx.Done():
		}
	}()
	err := s.stream(ctx)
	if errors.Is(context.Cause(ctx), errRenew) {
		return nil
	}
	return err
}

var errRenew = errors.New("newer certificate")

func (s *Source) stream(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.Pilot+"/v1/names", nil)
	if err != nil {
		return fmt.Errorf("pilot's address: %w", err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return err // names method and address
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("pilot's names: status %d", res.StatusCode)
	}
	body := &limited{r: res.Body}
	for lines := bufio.NewReader(body); ; {
		body.left = maxTable
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("pilot's names: %w", err)
		}
		var u update
		if err := json.Unmarshal(line, &u); err != nil {
			return fmt.Errorf("pilot's names: %w", err)
		}
		if u.Error.Message != "" {
			return fmt.Errorf("pilot's names: %s", u.Error.Message)
		}
		if err := s.take(u); err != nil {
			s.log.Error("names not kept on disk", "error", err)
		}
		s.fresh.Store(true)
		s.log.Debug("names", "revision", u.Result.Revision, "names", len(u.Result.Names))
	}
}

// maxTable bounds one table: 10,000 names of 200 bytes, many times over.
const maxTable = 16 << 20

// limited reads at most left bytes until left is set anew.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("a table of more than %d bytes", maxTable)
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err // a reader
}

// take makes u the current table, on disk too.
func (s *Source) take(u update) error {
	hosts := make(map[string][]netip.Addr, len(u.Result.Names))
	for _, n := range u.Result.Names {
		for i := range n.Addresses {
			n.Addresses[i] = n.Addresses[i].Unmap()
		}
		hosts[n.Host] = n.Addresses
	}
	s.table.Store(dns.NewTable(hosts, s.cfg.Domain, s.cfg.Namespace))
	return s.store(u)
}

func (s *Source) store(u update) error {
	data, err := json.Marshal(u.Result)
	if err != nil {
		return fmt.Errorf("names: %w", err)
	}
	tmp := s.cfg.File + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("names: %w", err)
	}
	if err := os.Rename(tmp, s.cfg.File); err != nil {
		return fmt.Errorf("names: %w", err)
	}
	return nil
}
