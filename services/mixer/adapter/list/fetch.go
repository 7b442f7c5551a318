package list

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// fetchTimeout bounds one fetch, from dialling to the last byte.
	fetchTimeout = 10 * time.Second
	// maxBody bounds a fetched list, in bytes.
	maxBody = 8 << 20
)

// redirect follows a few, over http and https only.
func redirect(req *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("more than 3 redirects")
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return errors.New("redirected to something that is not http or https")
	}
	return nil
}

// Run implements adapter.Runner: it fetches at once and at every refresh.
func (h *handler) Run(ctx context.Context) error {
	if h.url == "" {
		return nil
	}
	tick := time.NewTicker(h.refresh)
	defer tick.Stop()
	var last [sha256.Size]byte
	for {
		if err := h.fetch(ctx, &last); err != nil && ctx.Err() == nil {
			h.log.Warn("the list was not refreshed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// fetch stores the list of now; an unchanged body only becomes fresh again.
func (h *handler) fetch(ctx context.Context, last *[sha256.Size]byte) error {
	body, err := h.get(ctx)
	if err != nil {
		return err
	}
	until := time.Now().Add(h.ttl)
	sum := sha256.Sum256(body)
	if old := h.current.Load(); old != nil && sum == *last {
		h.current.Store(&state{old.entries, until})
		return nil
	}
	all, err := lines(h.params.GetEntryType(), body)
	if err != nil {
		return err
	}
	parsed, err := parse(h.params.GetEntryType(), append(all, h.params.GetOverrides()...))
	if err != nil {
		return err
	}
	*last = sum
	h.current.Store(&state{parsed, until})
	return nil
}

func (h *handler) get(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch the list: %w", err)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the list: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the list: %s", res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("fetch the list: %w", err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("fetch the list: it has more than %d bytes", maxBody)
	}
	return body, nil
}
