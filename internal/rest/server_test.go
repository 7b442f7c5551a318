package rest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
	"github.com/outrigger-mesh/outrigger/internal/rest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
)

// openAPI names a parameter that no method has, to tell what it says from what acts.
const openAPI = `{"swagger":"2.0","paths":{"/v1/status":{"get":{"parameters":[{"name":"since","in":"query"},{"name":"x","in":"path"}]}}}}`

type gateway struct {
	gatewayv1.UnimplementedGatewayServiceServer
}

func (gateway) GetStatus(ctx context.Context, _ *gatewayv1.GetStatusRequest) (*gatewayv1.GetStatusResponse, error) {
	return &gatewayv1.GetStatusResponse{WaitingFor: rpc.CallerFrom(ctx).String()}, nil
}

func (gateway) Drain(context.Context, *gatewayv1.DrainRequest) (*gatewayv1.DrainResponse, error) {
	return nil, errors.New("a secret of the inside")
}

type served struct {
	cfg rpc.Config
	dir string
	ca  *identitytest.Authority
}

// open serves the gateway's API with GetStatus for the mesh and Drain for admins.
func open(t *testing.T) served {
	t.Helper()
	ca := identitytest.New(t, "cluster.local")
	own := ca.Source("outrigger-system", "ingress")
	dir := t.TempDir()
	cfg := rpc.Config{GRPC: free(t), REST: free(t), Ops: free(t), Sockets: dir,
		Admins: []string{"spiffe://cluster.local/ns/outrigger-system/sa/admin"}}
	tel := telemetry.Discard()
	s, err := rpc.NewServer("ingress", cfg, own.ServerTLS(false), map[string]rpc.Access{
		gatewayv1.GatewayService_GetStatus_FullMethodName: rpc.Mesh,
	}, tel)
	if err != nil {
		t.Fatal(err)
	}
	gatewayv1.RegisterGatewayServiceServer(s.GRPC(), gateway{})
	h, err := rest.NewServer(cfg, s, own.ServerTLS(false), tel, rest.API{
		Register: []rest.Register{gatewayv1.RegisterGatewayServiceHandler}, OpenAPI: []byte(openAPI),
		Ready: func() error { return errors.New("the first config") },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g run.Group
	g.Add("rpc", s.Run)
	g.Add("rest", h.Run)
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return served{cfg, dir, ca}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only its number was wanted
	return l.Addr().String()
}

func (s served) get(t *testing.T, client *http.Client, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Grpc-Metadata-Outrigger-Caller-Local", "true") // must not be believed
	return s.do(t, client, req)
}

// do asks until the server listens.
func (s served) do(t *testing.T, client *http.Client, req *http.Request) (int, string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		body, err := req.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		req.Body = body
		res, err := client.Do(req)
		if err != nil {
			if time.Now().Before(deadline) && errors.As(err, new(*net.OpError)) {
				continue
			}
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck // read to its end
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
}

func (s served) tlsClient(account string) *http.Client {
	cfg := &tls.Config{InsecureSkipVerify: true}
	if account != "" {
		own := s.ca.Source("outrigger-system", "ingress").Current().ID
		cfg = s.ca.Source("outrigger-system", account).ClientTLS(own)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
}

func (s served) socketClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.dir, "ingress.rest.sock"))
	}}}
}

func TestWhoMayCallByREST(t *testing.T) {
	s := open(t)
	api := "https://" + s.cfg.REST
	for name, c := range map[string]struct {
		client      *http.Client
		method, url string
		code        int
		body        string
	}{
		"mesh identity reads":               {s.tlsClient("pilot"), "GET", api + "/v1/status", 200, "sa/pilot"},
		"anonymous does not read":           {s.tlsClient(""), "GET", api + "/v1/status", 401, "mesh certificate"},
		"mesh identity is no admin":         {s.tlsClient("pilot"), "POST", api + "/v1/drain", 403, "may not call this"},
		"admin gets the inner error hidden": {s.tlsClient("admin"), "POST", api + "/v1/drain", 500, "log says more"},
		"local user is admin":               {s.socketClient(), "GET", "http://local/v1/status", 200, "local administrator"},
		"openapi":                           {s.tlsClient(""), "GET", api + "/openapi.json", 200, "swagger"},
		"not ready says why":                {http.DefaultClient, "GET", "http://" + s.cfg.Ops + "/readyz", 503, "the first config"},
		"alive":                             {http.DefaultClient, "GET", "http://" + s.cfg.Ops + "/healthz", 200, "ok"},
		"metrics":                           {http.DefaultClient, "GET", "http://" + s.cfg.Ops + "/metrics", 200, "go_goroutines"},
	} {
		code, body := s.get(t, c.client, c.method, c.url)
		if code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s: got %d %s, want %d with %q", name, code, body, c.code, c.body)
		}
	}
}

// TestOnlyWhatIsMeant: what the gateway would leave out or take for something else.
func TestOnlyWhatIsMeant(t *testing.T) {
	s := open(t)
	for name, c := range map[string]struct {
		method, path, content, override string
		code                            int
		body                            string
	}{
		"named parameter":        {"GET", "/v1/status?since=1", "", "", 200, "local administrator"},
		"misspelt parameter":     {"GET", "/v1/status?sinse=1", "", "", 400, `{"code":3,"message":"unknown query parameter \"sinse\"; there are since"}`},
		"parameter of the path":  {"GET", "/v1/status?x=1", "", "", 400, `unknown query parameter \"x\"`},
		"parameter and body":     {"POST", "/v1/drain?since=1", "", "", 400, "none are taken here"},
		"broken query":           {"GET", "/v1/status?since=%zz", "", "", 400, "query: "},
		"form for what is read":  {"POST", "/v1/status", "application/x-www-form-urlencoded", "", 501, "Method Not Allowed"},
		"form for what is done":  {"POST", "/v1/drain", "application/x-www-form-urlencoded", "", 500, "log says more"},
		"method in a header":     {"POST", "/v1/status", "application/x-www-form-urlencoded", "GET", 501, "Method Not Allowed"},
		"what the gateway lacks": {"GET", "/v1/stats?since=1", "", "", 404, "Not Found"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://local"+c.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if c.content != "" {
			req.Header.Set("Content-Type", c.content)
		}
		if c.override != "" {
			req.Header.Set("X-Http-Method-Override", c.override)
		}
		code, body := s.do(t, s.socketClient(), req)
		if code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s: got %d %s, want %d with %s", name, code, body, c.code, c.body)
		}
	}
}

func TestWhoMayCallByGRPC(t *testing.T) {
	s := open(t)
	own := s.ca.Source("outrigger-system", "ingress").Current().ID
	for account, want := range map[string]codes.Code{"pilot": codes.PermissionDenied, "admin": codes.Internal} {
		conn, err := rpc.Dial(s.cfg.GRPC, s.ca.Source("outrigger-system", account).ClientTLS(own))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // end of test
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = gatewayv1.NewGatewayServiceClient(conn).Drain(ctx, &gatewayv1.DrainRequest{})
		if status.Code(err) != want {
			t.Errorf("%s: got %v, want %v", account, err, want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: an internal error's text got out: %v", account, err)
		}
	}
}
