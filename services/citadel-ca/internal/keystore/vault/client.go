package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/outrigger-mesh/outrigger/services/citadel-ca/internal/durable"
)

// connect makes a client of the settings alone: what the environment says of Vault is
// put aside.
func connect(cfg Config) (*api.Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
		TLSHandshakeTimeout: cfg.Timeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 16, // signatures under way at once that reuse a connection
		IdleConnTimeout:     time.Minute,
	}
	if cfg.CAFile != "" {
		pool, err := readPool(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	client, err := api.NewClient(&api.Config{
		Address: cfg.Address,
		Timeout: cfg.Timeout,
		HttpClient: &http.Client{
			Transport: transport,
			// The client follows redirects to the active node itself.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("vault client: %w", err)
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.ClearToken()
	if cfg.Namespace != "" {
		client.SetNamespace(cfg.Namespace)
	}
	return client, nil
}

func (c Config) check() error {
	u, err := url.Parse(c.Address)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return fmt.Errorf("keystore.vault.address %q: want https://host:port", c.Address)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("keystore.vault.address %q: without TLS the token would cross the network readable; want https, or http to loopback", c.Address)
	case c.Mount == "" || c.Key == "":
		return errors.New("keystore.vault: mount and key must be given")
	case c.TokenFile == "":
		return errors.New("keystore.vault.tokenFile must be given")
	case c.Timeout <= 0:
		return fmt.Errorf("keystore.vault.timeout %s: want more than 0", c.Timeout)
	case c.KeyVersion < 0:
		return fmt.Errorf("keystore.vault.keyVersion %d: want 0 or more", c.KeyVersion)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func readPool(path string) (*x509.CertPool, error) {
	text, err := durable.Read(path)
	if err != nil {
		return nil, fmt.Errorf("keystore.vault.caFile: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("keystore.vault.caFile %s: no certificate in it", path)
	}
	return pool, nil
}

// call bounds f by the timeout, and tries once more if Vault did not take the token
// and its file has another one by now.
func (s *Store) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	err := f(ctx)
	var answer *api.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusForbidden {
		return err
	}
	if changed, bad := s.token.load(); bad != nil || !changed {
		return err
	}
	return f(ctx)
}
