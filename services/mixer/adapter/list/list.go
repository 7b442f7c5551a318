// Package list is the adapter that looks a value up in a list: given in the handler, or
// fetched by http or https and kept fresh.
package list

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// Info describes the adapter. A value that is not on a whitelist gets NOT_FOUND, one on
// a blacklist PERMISSION_DENIED, one that cannot be of the list's type
// INVALID_ARGUMENT. Before the first fetch, and when no fetch worked for ttl, there is no
// decision.
func Info() adapter.Info {
	return adapter.Info{
		Name:      "list",
		Templates: []string{template.NameListEntry},
		Params:    &configv1.ListParams{},
		Validate: func(p proto.Message, _ adapter.Env) error {
			_, err := build(p)
			return err
		},
		Build: func(p proto.Message, env adapter.Env) (adapter.Handler, error) {
			h, err := build(p)
			if err != nil {
				return nil, err
			}
			h.log = env.Log
			return h, nil
		},
	}
}

// state is a list and until when it may be used; a zero time is for ever.
type state struct {
	entries entries
	until   time.Time
}

type handler struct {
	params   *configv1.ListParams
	url      string
	refresh  time.Duration
	ttl      time.Duration
	validFor time.Duration
	uses     int32
	client   *http.Client
	log      *slog.Logger
	current  atomic.Pointer[state]
}

func build(m proto.Message) (*handler, error) {
	p, ok := m.(*configv1.ListParams)
	if !ok {
		return nil, fmt.Errorf("params are a %T", m)
	}
	h := &handler{
		params: p, url: p.GetProviderUrl(),
		refresh:  or(p.GetRefreshInterval(), time.Minute),
		ttl:      or(p.GetTtl(), 5*time.Minute),
		validFor: or(p.GetCachingInterval(), 5*time.Minute),
		uses:     p.GetCachingUseCount(),
		client:   &http.Client{Timeout: fetchTimeout, CheckRedirect: redirect},
	}
	if h.uses == 0 {
		h.uses = 10_000
	}
	switch {
	case h.refresh < time.Second:
		return nil, fmt.Errorf("refresh_interval: %v is less than 1s", h.refresh)
	case h.ttl < h.refresh:
		return nil, fmt.Errorf("ttl: %v is less than refresh_interval, which is %v", h.ttl, h.refresh)
	case h.validFor < 0 || h.uses < 0:
		return nil, errors.New("caching_interval and caching_use_count must not be negative")
	}
	if h.url != "" {
		return h, h.fetchable()
	}
	own, err := parse(p.GetEntryType(), p.GetOverrides())
	if err != nil {
		return nil, fmt.Errorf("overrides: %w", err)
	}
	h.current.Store(&state{entries: own})
	return h, nil
}

func (h *handler) fetchable() error {
	u, err := url.Parse(h.url)
	if err != nil {
		return errors.New("provider_url: not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("provider_url: %q is not an http or https URL", u.Redacted())
	}
	if _, err := parse(h.params.GetEntryType(), h.params.GetOverrides()); err != nil {
		return fmt.Errorf("overrides: %w", err)
	}
	return nil
}

func or(d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return d.AsDuration()
}

// ListEntry implements adapter.ListEntry.
func (h *handler) ListEntry(_ context.Context, in template.ListEntry) (adapter.Verdict, error) {
	s := h.current.Load()
	if s == nil {
		return adapter.Verdict{}, errors.New("the list was not fetched yet")
	}
	if !s.until.IsZero() && time.Now().After(s.until) {
		return adapter.Verdict{}, fmt.Errorf("the list could not be refreshed for %v", h.ttl)
	}
	v := adapter.Verdict{ValidDuration: h.validFor, ValidUseCount: h.uses}
	found, err := s.entries.has(in.Value)
	switch {
	case err != nil:
		v.Code, v.Message = codes.InvalidArgument, err.Error()
	case h.params.GetBlacklist() && found:
		v.Code, v.Message = codes.PermissionDenied, in.Value+" is blacklisted"
	case !h.params.GetBlacklist() && !found:
		v.Code, v.Message = codes.NotFound, in.Value+" is not whitelisted"
	}
	return v, nil
}

// Immediate implements adapter.Immediate: fetching is Run's work. Patterns are tried one
// after the other, and there may be maxEntries of them.
func (h *handler) Immediate() bool {
	return h.params.GetEntryType() != configv1.ListParams_REGEX
}

// Close implements adapter.Handler.
func (h *handler) Close() error {
	h.client.CloseIdleConnections()
	return nil
}
