package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// handshakeLimit is for one handshake and one request.
const handshakeLimit = 5 * time.Second

// clientTLS shows a certificate, or none, and takes any server's: what the server shows
// is looked at afterwards.
func clientTLS(id *mesh.Identity) *tls.Config {
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if id != nil {
		cfg.Certificates = []tls.Certificate{id.Certificate}
	}
	return cfg
}

// knock speaks TLS to an address from behind a door and asks for a page. It returns the
// certificates that the server showed; the error says why no answer came.
func knock(ctx context.Context, door *mesh.Door, address, path string, cfg *tls.Config) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	var shown []*x509.Certificate
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			raw, err := door.Dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			conn := tls.Client(raw, cfg)
			if err := conn.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(err, raw.Close())
			}
			shown = conn.ConnectionState().PeerCertificates
			return conn, nil
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := mesh.Do(client, request)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", answer.Status, answer.Body)
	}
	return shown, err
}

// refusedByTLS is nil for an error that says that the other side broke off the handshake
// or the connection, and did not merely time out.
func refusedByTLS(err error) error {
	if err == nil {
		return errors.New("it was let in")
	}
	for _, text := range []string{"remote error: tls", "connection reset", "EOF", "broken pipe"} {
		if strings.Contains(err.Error(), text) {
			return nil
		}
	}
	return fmt.Errorf("want a refusal, got %w", err)
}

// impostor is a server in the hub that speaks for reviews with any certificate.
type impostor struct {
	listener   net.Listener
	handshakes atomic.Int64 // that were begun
	served     atomic.Int64 // requests
}

// impostorPort is where it listens in the hub.
const impostorPort = "19080"

// impostorBody is what it answers.
const impostorBody = `{"id":0,"version":"impostor","podname":"impostor","reviews":[]}`

func startImpostor(t *testing.T, s *site, id mesh.Identity) *impostor {
	t.Helper()
	door := must(s.Door("hub"))(t)
	snapshot := must(s.Snapshot())(t)
	i := &impostor{listener: must(door.Listen(net.JoinHostPort(snapshot.Hub, impostorPort)))(t)}
	cfg := &tls.Config{Certificates: []tls.Certificate{id.Certificate}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		i.handshakes.Add(1)
		return nil, nil
	}
	server := &http.Server{
		ReadHeaderTimeout: handshakeLimit,
		ErrorLog:          nil,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			i.served.Add(1)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, impostorBody)
		}),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(tls.NewListener(i.listener, cfg))
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return i
}

// impostorObjects say that the impostor is reviews, and send every request there.
func impostorObjects(hub string) string {
	return fmt.Sprintf(`apiVersion: outrigger.dev/v1
kind: Workload
metadata: {name: impostor, namespace: default}
spec:
  address: %s
  account: bookinfo-reviews
  labels: {app: reviews, version: impostor}
  ports: {http: %s}
---
apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: reviews-to-impostor, namespace: default}
spec:
  destination: {name: reviews}
  precedence: 9
  route:
  - labels: {version: impostor}
`, hub, impostorPort)
}
