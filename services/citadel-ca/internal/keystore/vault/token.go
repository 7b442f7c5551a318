package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/durable"
)

// token keeps the client's token fresh: from its file, which others may replace, and
// by renewing it. load is safe for concurrent use; tend is for one goroutine.
type token struct {
	path   string
	client *api.Client

	mu   sync.Mutex
	text string

	renewAt time.Time // of tend
	failed  string    // of tend: what was said last
}

// load reads the file and reports whether the token is another than before. Errors
// never have a part of the file.
func (t *token) load() (changed bool, err error) {
	data, err := durable.ReadSecret(t.path)
	if err != nil {
		return false, fmt.Errorf("vault token: %w", err)
	}
	text := string(bytes.TrimSpace(data))
	if text == "" || bytes.ContainsAny([]byte(text), " \t\r\n") {
		return false, fmt.Errorf("vault token: %s does not hold a token", t.path)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if text == t.text {
		return false, nil
	}
	t.text = text
	t.client.SetToken(text)
	return true, nil
}

const (
	renewPause = time.Hour // between renewals of a token that lives long
	retryPause = time.Minute
)

// tend takes a new token from the file, and renews the one in use when half of its
// life is over.
func (t *token) tend(ctx context.Context, log *slog.Logger) {
	changed, err := t.load()
	if err != nil {
		t.say(log, err)
		return
	}
	now := time.Now()
	if changed {
		log.Info("vault token taken from its file", "file", t.path)
	} else if now.Before(t.renewAt) {
		return
	}
	life, err := t.renew(ctx)
	if err != nil {
		t.renewAt = now.Add(retryPause)
		t.say(log, err)
		return
	}
	t.failed = ""
	t.renewAt = now.Add(min(life/2, renewPause))
}

// renew returns how long the token lives now. One that never ends is not renewed.
func (t *token) renew(ctx context.Context) (time.Duration, error) {
	secret, err := t.client.Auth().Token().RenewSelfWithContext(ctx, 0)
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode < http.StatusInternalServerError {
		return 0, fmt.Errorf("vault token cannot be renewed (status %d, %q): if it has an end, put another one into %s before it",
			answer.StatusCode, answer.Errors, t.path)
	}
	if err != nil {
		return 0, fmt.Errorf("renew vault token: %w", err)
	}
	if secret == nil || secret.Auth == nil || secret.Auth.LeaseDuration <= 0 {
		return 2 * renewPause, nil
	}
	return time.Duration(secret.Auth.LeaseDuration) * time.Second, nil
}

// say logs what was not said before.
func (t *token) say(log *slog.Logger, err error) {
	if errors.Is(err, context.Canceled) || t.failed == err.Error() {
		return
	}
	t.failed = err.Error()
	log.Warn("vault token", "error", err)
}
