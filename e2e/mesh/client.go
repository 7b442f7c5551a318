package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Answer is an HTTP answer that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Took   time.Duration
}

// maxAnswer bounds the body of an answer, in bytes.
const maxAnswer = 32 << 20

// restLimit bounds a call of a service's REST API.
const restLimit = time.Minute

func queryEscape(text string) string { return url.QueryEscape(text) }

// socketClient is an HTTP client of a Unix socket that opens a connection per request.
func socketClient(path string, limit time.Duration) *http.Client {
	return &http.Client{Timeout: limit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", path)
		},
	}}
}

// fetch makes one request and reads the answer.
func fetch(ctx context.Context, client *http.Client, method, url string, body []byte) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return Do(client, request)
}

// Do makes one request and reads the answer to its end.
func Do(client *http.Client, request *http.Request) (Answer, error) {
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return Answer{Took: time.Since(began)}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	answer := Answer{Status: response.StatusCode, Header: response.Header, Body: string(text), Took: time.Since(began)}
	if err != nil {
		return answer, fmt.Errorf("%s %s: read the answer: %w", request.Method, request.URL, err)
	}
	return answer, nil
}

// Socket is the path of a service's Unix socket: kind is "grpc" or "rest".
func (m *Mesh) Socket(service, kind string) string {
	return filepath.Join(m.State, "run", service+"."+kind+".sock")
}

// REST calls a service by its Unix socket. body may be nil, a []byte, or what JSON can
// be made of.
func (m *Mesh) REST(ctx context.Context, service, method, path string, body any) (Answer, error) {
	text, ok := body.([]byte)
	if body != nil && !ok {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return Answer{}, fmt.Errorf("%s %s: %w", service, path, err)
		}
	}
	client := socketClient(m.Socket(service, "rest"), restLimit)
	return fetch(ctx, client, method, "http://"+service+path, text)
}

// Read gets a JSON document from a service's REST API.
func (m *Mesh) Read(ctx context.Context, service, path string, into any) error {
	answer, err := m.REST(ctx, service, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if answer.Status != http.StatusOK {
		return fmt.Errorf("%s %s: status %d: %s", service, path, answer.Status, answer.Body)
	}
	if err := json.Unmarshal([]byte(answer.Body), into); err != nil {
		return fmt.Errorf("%s %s: %w", service, path, err)
	}
	return nil
}

// maxMessage bounds a gRPC message, in bytes.
const maxMessage = 16 << 20

// GRPC returns a connection to a service by its Unix socket.
func (m *Mesh) GRPC(service string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+m.Socket(service, "grpc"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("%s by gRPC: %w", service, err)
	}
	return conn, nil
}

// Client is an HTTP client whose connections are opened behind the door.
func (d *Door) Client(limit time.Duration) *http.Client {
	return &http.Client{Timeout: limit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       d.Dial,
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Get asks for a URL from behind the door.
func (d *Door) Get(ctx context.Context, url string) (Answer, error) {
	return fetch(ctx, d.Client(restLimit), http.MethodGet, url, nil)
}

// opsPorts are where the services serve health and metrics, in the hub.
var opsPorts = map[string]string{"pilot": "15014", "citadel-ca": "15024", "mixer": "15034", "ingress": "15044", "egress": "15054"}

// Ops asks a service for a page of its plain operations address, from the hub.
func (m *Mesh) Ops(ctx context.Context, service, path string) (Answer, error) {
	port, known := opsPorts[service]
	if !known {
		return Answer{}, fmt.Errorf("%s has no operations address", service)
	}
	return m.hubGet(ctx, port, path)
}

// Prometheus reads the metrics that mixer's Prometheus adapter serves.
func (m *Mesh) Prometheus(ctx context.Context) (string, error) {
	answer, err := m.hubGet(ctx, "42422", "/metrics")
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("mixer's Prometheus endpoint: status %d: %s", answer.Status, answer.Body)
	}
	return answer.Body, err
}

func (m *Mesh) hubGet(ctx context.Context, port, path string) (Answer, error) {
	s, err := m.Snapshot()
	if err != nil {
		return Answer{}, err
	}
	door, err := m.Door("hub")
	if err != nil {
		return Answer{}, err
	}
	return door.Get(ctx, "http://"+net.JoinHostPort(s.Hub, port)+path)
}
