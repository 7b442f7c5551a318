// Package call asks other services for JSON documents: with a deadline for each attempt, a limit on what is read, and
// connections that are kept and used again.
package call

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	maxBody    = 1 << 20  // bytes of one answer
	maxHeader  = 32 << 10 // bytes of one answer's header
	maxDiscard = 64 << 10 // bytes of a refusal read so that its connection can be used again
)

// Request is one question: GET URL with Header, each attempt bounded by Timeout. Attempts counts the first one too.
type Request struct {
	URL      string
	Header   http.Header
	Timeout  time.Duration
	Attempts int
}

// StatusError is an answer that arrived and was not 200.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("answered %d %s", e.Code, http.StatusText(e.Code))
}

// unreadable is an answer that arrived and was not the document it should be.
type unreadable struct{ err error }

func (e *unreadable) Error() string { return "unreadable answer: " + e.err.Error() }

func (e *unreadable) Unwrap() error { return e.err }

// Client asks other services. It is safe for concurrent use.
type Client struct{ http *http.Client }

// New returns a client that sends through rt. Redirects are not followed.
func New(rt http.RoundTripper) *Client {
	return &Client{http: &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// NewTransport returns a transport fit for calls between neighbours. It closes idle connections well before a sidecar
// would, so that no request meets a connection that is just being closed.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		DisableCompression:     true,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    128,
		MaxConnsPerHost:        2048,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// JSON asks for a document, decodes it into doc and returns how many attempts that took. Only silence is asked twice:
// an attempt that timed out or found no peer is repeated while attempts are left; an answer is final, be it a refusal
// (*StatusError) or rubbish.
func (c *Client) JSON(ctx context.Context, q Request, doc any) (attempts int, err error) {
	for attempts < max(q.Attempts, 1) {
		attempts++
		err = c.once(ctx, q, doc)
		if err == nil || answered(err) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return attempts, fmt.Errorf("get %s: %w", q.URL, err)
	}
	return attempts, nil
}

func (c *Client) once(ctx context.Context, q Request, doc any) error {
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.URL, nil)
	if err != nil {
		return err
	}
	if q.Header != nil {
		req.Header = q.Header.Clone()
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "outrigger-bookinfo")
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxDiscard)
		return &StatusError{Code: resp.StatusCode}
	}
	return decode(resp.Body, doc)
}

func answered(err error) bool {
	var refusal *StatusError
	var rubbish *unreadable
	return errors.As(err, &refusal) || errors.As(err, &rubbish)
}

func decode(r io.Reader, doc any) error {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxBody {
		return &unreadable{fmt.Errorf("larger than %d bytes", maxBody)}
	}
	if err := json.Unmarshal(body, doc); err != nil {
		return &unreadable{err}
	}
	return nil
}

// Reason says in a few words, fit to be shown, why a call failed.
func Reason(err error) string {
	var refusal *StatusError
	var netErr net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return fmt.Sprintf("HTTP %d", refusal.Code)
	case errors.As(err, &netErr) && netErr.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	default:
		return "no usable answer"
	}
}

// Status returns the HTTP status with which to tell one's own caller that a call failed: the refusal's own, 504 for a
// timeout, 502 for anything else.
func Status(err error) int {
	var refusal *StatusError
	var netErr net.Error
	switch {
	case errors.As(err, &refusal) && refusal.Code >= 400 && refusal.Code < 600:
		return refusal.Code
	case errors.As(err, &netErr) && netErr.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadGateway
	}
}
