package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

type signRequest struct {
	CSRPEM    string `json:"csrPem"`
	JoinToken string `json:"joinToken,omitempty"`
	TTL       string `json:"ttl,omitempty"`
}

type signResponse struct {
	ChainPEM  string `json:"chainPem"`
	BundlePEM string `json:"bundlePem"`
	Message   string `json:"message"` // of an error
}

// sign makes a key and has citadel-ca sign for it. current authenticates the call if
// there is one, else token.
func (s *Source) sign(ctx context.Context, current *Certificate, token string) (*Certificate, error) {
	key, keyPEM, err := newKey(func() (*ecdsa.PrivateKey, error) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	})
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{s.cfg.ID.URL()}}, key)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	req := signRequest{
		CSRPEM:    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
		JoinToken: token,
	}
	if s.cfg.TTL > 0 {
		req.TTL = fmt.Sprintf("%ds", int(s.cfg.TTL.Seconds()))
	}
	ans, err := s.post(ctx, current, req)
	if err != nil {
		return nil, err
	}
	c, err := parse(keyPEM, []byte(ans.ChainPEM), []byte(ans.BundlePEM), time.Now())
	if err != nil {
		return nil, fmt.Errorf("citadel-ca's answer: %w", err)
	}
	if c.ID != s.cfg.ID {
		return nil, fmt.Errorf("citadel-ca's answer is for %s, asked for %s", c.ID, s.cfg.ID)
	}
	return c, nil
}

// maxAnswer bounds what is read from citadel-ca: a chain and a bundle.
const maxAnswer = 1 << 20

func (s *Source) post(ctx context.Context, current *Certificate, req signRequest) (signResponse, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return signResponse{}, fmt.Errorf("certificate request: %w", err)
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.Authority+"/v1/certificates", bytes.NewReader(body))
	if err != nil {
		return signResponse{}, fmt.Errorf("citadel-ca's address %q: %w", s.cfg.Authority, err)
	}
	hr.Header.Set("Content-Type", "application/json")
	tr := &http.Transport{TLSClientConfig: s.authorityTLS(current), DisableKeepAlives: true}
	res, err := (&http.Client{Transport: tr}).Do(hr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op
		}
		return signResponse{}, fmt.Errorf("citadel-ca at %s: %w", s.cfg.Authority, err)
	}
	defer res.Body.Close() //nolint:errcheck // read to its end or given up
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return signResponse{}, fmt.Errorf("citadel-ca at %s: %w", s.cfg.Authority, err)
	}
	var ans signResponse
	if err := json.Unmarshal(data, &ans); err != nil {
		return signResponse{}, fmt.Errorf("citadel-ca at %s: status %d, not JSON", s.cfg.Authority, res.StatusCode)
	}
	if res.StatusCode != http.StatusOK {
		return signResponse{}, fmt.Errorf("citadel-ca refused: %s", ans.Message)
	}
	return ans, nil
}

func (s *Source) authorityTLS(current *Certificate) *tls.Config {
	cfg := s.clientConfig([]spiffe.ID{s.cfg.AuthorityID})
	if current == nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return new(tls.Certificate), nil
		}
	}
	return cfg
}
