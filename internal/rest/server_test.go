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
const openAPI = `{"swagger":"2.0","paths":{"/v1/status":{"get":{"parameters":[{"name":"since","in":"query"},{"name":"x","in":"path"}]}},
"/v1/drain":{"post":{"parameters":[{"name":"body","in":"body"}]}}}}`

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
	body := ""
	if method == http.MethodPost {
		body = "{}"
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Grpc-Metadata-Outrigger-Caller-Local", "true") // must not be believed
	return s.do(t, client, req)
}

func (s served) do(t *testing.T, client *http.Client, req *http.Request) (int, string) {
	t.Helper()
	code, _, body := s.ask(t, client, req)
	return code, body
}

// ask asks until the server listens.
func (s served) ask(t *testing.T, client *http.Client, req *http.Request) (int, http.Header, string) {
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
		return res.StatusCode, res.Header, string(text)
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

// A body is decoded before anybody asks who sent it, so that of who is no administrator is
// a short one.
func TestABodyOfAStrangerIsShort(t *testing.T) {
	s := open(t)
	body := strings.Repeat(" ", 64<<10) + "{}"
	for account, short := range map[string]bool{"": true, "pilot": true, "admin": false} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.cfg.REST+"/v1/drain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		code, text := s.do(t, s.tlsClient(account), req)
		if refused := strings.Contains(text, "request body too large"); refused != short || refused && code < 400 {
			t.Errorf("caller %q: got %d %s, refused for its length: %v, want %v", account, code, text, refused, short)
		}
	}
}

// TestOnlyWhatIsMeant: what the gateway would leave out or take for something else.
func TestOnlyWhatIsMeant(t *testing.T) {
	s := open(t)
	const form = "application/x-www-form-urlencoded"
	for name, c := range map[string]struct {
		method, path, content, override, body string
		chunked                               bool
		code                                  int
		want, allow                           string
	}{
		"named parameter":        {method: "GET", path: "/v1/status?since=1", code: 200, want: "local administrator"},
		"misspelt parameter":     {method: "GET", path: "/v1/status?sinse=1", code: 400, want: `{"code":3,"message":"unknown query parameter \"sinse\"; there are since"}`},
		"parameter of the path":  {method: "GET", path: "/v1/status?x=1", code: 400, want: `unknown query parameter \"x\"`},
		"parameter and body":     {method: "POST", path: "/v1/drain?since=1", body: "{}", code: 400, want: "none are taken here"},
		"broken query":           {method: "GET", path: "/v1/status?since=%zz", code: 400, want: "query: "},
		"form for what is done":  {method: "POST", path: "/v1/drain", content: form, body: "{}", code: 500, want: "log says more"},
		"what the gateway lacks": {method: "GET", path: "/v1/stats?since=1", code: 404, want: "Not Found"},

		"form for what is read": {method: "POST", path: "/v1/status", content: form, body: "{}", code: 405, want: `{"code":12,"message":"POST is not taken here; there is GET"}`, allow: "GET"},
		"method in a header":    {method: "POST", path: "/v1/status", content: form, override: "GET", body: "{}", code: 405, want: "there is GET", allow: "GET"},
		"method that is none":   {method: "BREW", path: "/v1/drain", code: 405, want: "BREW is not taken here; there is POST", allow: "POST"},
		"document deleted":      {method: "DELETE", path: "/openapi.json", code: 405, want: "Not Allowed", allow: "GET, HEAD"},
		"health deleted":        {method: "DELETE", path: "/healthz", code: 405, want: "Not Allowed", allow: "GET, HEAD"},

		"body where none is":      {method: "GET", path: "/v1/status", body: `{"since":1}`, code: 400, want: "GET takes no body here; what it depends on goes into the query: since"},
		"form where none is":      {method: "GET", path: "/v1/status", content: form, body: "since=1", code: 400, want: "takes no body here"},
		"body of unknown size":    {method: "GET", path: "/v1/status", body: "{}", chunked: true, code: 400, want: "takes no body here"},
		"no body of unknown size": {method: "GET", path: "/v1/status", chunked: true, code: 200, want: "local administrator"},

		"space after the body":  {method: "POST", path: "/v1/drain", body: " {} \r\n\t ", code: 500, want: "log says more"},
		"no body":               {method: "POST", path: "/v1/drain", code: 500, want: "log says more"},
		"second value":          {method: "POST", path: "/v1/drain", body: "{}{}", code: 400, want: "the body goes on after its JSON value, which ends at byte 2"},
		"field after the end":   {method: "POST", path: "/v1/drain", body: `{}, "dryRun": true}`, code: 400, want: "goes on after"},
		"bracket after the end": {method: "POST", path: "/v1/drain", body: "{}}", code: 400, want: "goes on after"},
		"text after the end":    {method: "POST", path: "/v1/drain", body: "{}\ntrailing", chunked: true, code: 400, want: "goes on after"},
		"half a body":           {method: "POST", path: "/v1/drain", body: "{", code: 400, want: "unexpected EOF"},
	} {
		var body io.Reader = strings.NewReader(c.body)
		if c.chunked {
			body = io.MultiReader(body)
		}
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://local"+c.path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(body), nil }
		if c.content != "" {
			req.Header.Set("Content-Type", c.content)
		}
		if c.override != "" {
			req.Header.Set("X-Http-Method-Override", c.override)
		}
		code, header, text := s.ask(t, s.socketClient(), req)
		if code != c.code || !strings.Contains(text, c.want) || header.Get("Allow") != c.allow {
			t.Errorf("%s: got %d %s (Allow %q), want %d with %s (Allow %q)", name, code, text, header.Get("Allow"), c.code, c.want, c.allow)
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
