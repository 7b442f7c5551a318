package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// surface is what a service shows.
type surface struct {
	name       string
	grpc, rest string // ports in the hub
	path       string // of its REST API, for administrators
	status     string // the same as a gRPC method
	metric     string // a metric of its own or of its runtime
}

var surfaces = []surface{
	{"pilot", "15010", "15011", "/v1/status", "/outrigger.pilot.v1.StatusService/GetStatus", "go_goroutines"},
	{"citadel-ca", "15020", "15021", "/v1/status", "/outrigger.ca.v1.AuthorityService/GetStatus", "go_goroutines"},
	{"mixer", "15030", "15031", "/v1/status", "/outrigger.mixer.v1.AdminService/GetStatus", "go_goroutines"},
	{"ingress", "15040", "15041", "/v1/status", "/outrigger.gateway.v1.GatewayService/GetStatus", "go_goroutines"},
	{"egress", "15050", "15051", "/v1/status", "/outrigger.gateway.v1.GatewayService/GetStatus", "go_goroutines"},
}

// TestE2E12Surfaces: what every service offers to who runs it.
func TestE2E12Surfaces(t *testing.T) {
	s := common(t)
	admin := must(s.Identity(t.Context(), mesh.AccountID("outrigger-system", "admin")))(t)
	workload := must(s.Identity(t.Context(), mesh.AccountID("default", "bookinfo-details")))(t)
	for _, service := range surfaces {
		t.Run(service.name, func(t *testing.T) {
			s.testOps(t, service)
			s.testREST(t, service, admin, workload)
			s.testSocketAPI(t, service)
			s.testLogs(t, service)
			testProgram(t, s.root, service.name)
		})
	}
	t.Run("sidecar-agent", s.testAgent)
	t.Run("no token in a log", s.testSecretLogs)
	t.Run("the command line by certificate", func(t *testing.T) { s.testCertificateCommand(t, admin, workload) })
}

func (s *site) testOps(t *testing.T, service surface) {
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		answer := must(s.Ops(t.Context(), service.name, path))(t)
		if answer.Status != http.StatusOK {
			t.Errorf("%s: status %d: %s", path, answer.Status, answer.Body)
		}
		if path == "/metrics" && !strings.Contains(answer.Body, service.metric) {
			t.Errorf("/metrics has no %s", service.metric)
		}
	}
}

// testREST looks at the API by mTLS: an administrator may, others may not.
func (s *site) testREST(t *testing.T, service surface, admin, workload mesh.Identity) {
	door := must(s.Door("hub"))(t)
	hub := must(s.Snapshot())(t).Hub
	address := net.JoinHostPort(hub, service.rest)
	shown, err := knock(t.Context(), door, address, service.path, clientTLS(&admin))
	if err != nil {
		t.Errorf("REST for an administrator: %v", err)
	}
	if err := isOf(shown, mesh.AccountID("outrigger-system", service.name), admin.Roots); err != nil {
		t.Errorf("REST: %v", err)
	}
	for who, id := range map[string]*mesh.Identity{"a workload": &workload, "nobody": nil} {
		if _, err := knock(t.Context(), door, address, service.path, clientTLS(id)); err == nil ||
			!strings.Contains(err.Error(), "status 401") && !strings.Contains(err.Error(), "status 403") && refusedByTLS(err) != nil {
			t.Errorf("REST for %s: %v, want a refusal", who, err)
		}
	}
	grpcAddress := net.JoinHostPort(hub, service.grpc)
	if err := callStatus(t.Context(), door, grpcAddress, service.status, &admin); err != nil {
		t.Errorf("gRPC by mTLS: %v", err)
	}
	for who, id := range map[string]*mesh.Identity{"a workload": &workload, "nobody": nil} {
		if code := grpcstatus.Code(callStatus(t.Context(), door, grpcAddress, service.status, id)); code != codes.PermissionDenied && code != codes.Unauthenticated {
			t.Errorf("gRPC for %s: %v, want a refusal", who, code)
		}
	}
}

// testSocketAPI reads the API and its description by the Unix socket.
func (s *site) testSocketAPI(t *testing.T, service surface) {
	var api struct {
		Swagger string         `json:"swagger"`
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	check(t, s.Read(t.Context(), service.name, "/openapi.json", &api))
	if api.Swagger+api.OpenAPI == "" || len(api.Paths) == 0 {
		t.Errorf("openapi.json describes nothing: %+v", api)
	}
	if _, found := api.Paths[service.path]; !found {
		t.Errorf("openapi.json has no %s: %v", service.path, api.Paths)
	}
	var any map[string]any
	check(t, s.Read(t.Context(), service.name, service.path, &any))
	for _, kind := range []string{"rest", "grpc"} {
		info := must(os.Stat(s.Socket(service.name, kind)))(t)
		if info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket for %s has mode %v, want one with 0600", kind, info.Mode())
		}
	}
}

// testLogs expects that every line is JSON, says when, how bad and what, and names the
// service, those too that a library writes of its own accord.
func (s *site) testLogs(t *testing.T, service surface) {
	name := service.name
	s.babble(t, service.rest)
	s.babble(t, service.grpc)
	log := must(s.Log(name))(t)
	lines := 0
	for line := range strings.Lines(log) {
		lines++
		var entry struct {
			Time    time.Time  `json:"time"`
			Level   slog.Level `json:"level"`
			Service string     `json:"service"`
			Message string     `json:"msg"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time.IsZero() || entry.Service != name || entry.Message == "" {
			t.Errorf("line %d of the log of %s is not structured (%v): %s", lines, name, err, brief(line))
		}
	}
	if lines == 0 {
		t.Errorf("%s has logged nothing", name)
	}
	if strings.Contains(log, "PRIVATE KEY") {
		t.Error("the log holds a private key")
	}
}

// babble says to a port of the hub what is no TLS, and waits until it is hung up on.
func (s *site) babble(t *testing.T, port string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), handshakeLimit)
	defer cancel()
	conn := must(must(s.Door("hub"))(t).Dial(ctx, "tcp", net.JoinHostPort(must(s.Snapshot())(t).Hub, port)))(t)
	defer conn.Close()
	end, _ := ctx.Deadline()
	check(t, conn.SetDeadline(end))
	must(conn.Write([]byte("this is no TLS\r\n\r\n")))(t)
	_, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who speaks no TLS to port %s is not hung up on: %v", port, err)
	}
}

// testCertificateCommand: the command line works with pilot from elsewhere, for who
// shows an administrator's certificate.
func (s *site) testCertificateCommand(t *testing.T, admin, workload mesh.Identity) {
	address := must(s.Snapshot())(t).Published["pilot-grpc"]
	flags := func(id mesh.Identity) []string {
		return []string{
			"--server", address, "--cert", write(t, "cert.pem", string(id.ChainPEM)),
			"--key", write(t, "key.pem", string(id.KeyPEM)), "--ca", write(t, "ca.pem", string(id.RootsPEM)),
		}
	}
	s.expect(t, 0, []string{"reviews"}, append([]string{"get", "services"}, flags(admin)...)...)
	for verb, args := range map[string][]string{
		"get":   {"get", "services"},
		"apply": {"apply", "-f", s.sample("route-rule-all-v1")},
	} {
		result := s.outrigger(t, append(args, flags(workload)...)...)
		if result.Code == 0 {
			t.Errorf("%s with a workload's certificate: %s", verb, result)
		}
		check(t, result.Expect(result.Code, "refuses"))
	}
}

// testSecretLogs: a join token is in no log, neither made nor used nor refused.
func (s *site) testSecretLogs(t *testing.T) {
	id := mesh.AccountID("default", "bookinfo-details")
	token := must(s.JoinToken(t.Context(), id))(t)
	_, request, err := mesh.NewRequest(id)
	check(t, err)
	for _, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if answer := must(s.Sign(t.Context(), request, token))(t); answer.Status != want {
			t.Errorf("status %d, want %d: %s", answer.Status, want, answer.Body)
		}
	}
	for _, p := range must(s.Snapshot())(t).Processes {
		if strings.Contains(must(s.Log(p.Name))(t), token) {
			t.Errorf("the log of %s holds a join token", p.Name)
		}
	}
}

// programLimit is for a program that only says something and ends.
const programLimit = 10 * time.Second

// program runs a binary of the mesh and returns its exit code and what it printed.
func program(t *testing.T, path string, args ...string) (code int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programLimit)
	defer cancel()
	var out bytes.Buffer
	command := exec.CommandContext(ctx, path, args...)
	command.Stdout, command.Stderr, command.Dir = &out, &out, t.TempDir()
	err := command.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s %v did not end within %v:\n%s", path, args, programLimit, brief(out.String()))
	}
	if err != nil && command.ProcessState == nil {
		t.Fatalf("%s %v: %v", path, args, err)
	}
	return command.ProcessState.ExitCode(), out.String()
}

// testProgram: --help, and a file that is decoded strictly.
func testProgram(t *testing.T, root mesh.Root, name string) {
	code, text := program(t, root.Binary(name), "--help")
	for _, want := range []string{"--config", "--listen.grpc", "--listen.ops"} {
		if code != 0 || !strings.Contains(text, want) {
			t.Errorf("%s --help: exit code %d, no %s in %s", name, code, want, brief(text))
		}
	}
	shipped := must(os.ReadFile(root.Path("deploy", "config", name+".yaml")))(t)
	lines := bytes.Count(shipped, []byte("\n")) + 1
	path := write(t, "bad.yaml", string(shipped)+"\nlissten: {grpc: nowhere}\n")
	code, text = program(t, root.Binary(name), "--config", path)
	if code == 0 || !strings.Contains(text, "lissten") || !strings.Contains(text, "bad.yaml") || !hasLine(text, lines, lines+1) {
		t.Errorf("an unknown key on line %d: exit code %d: %s", lines+1, code, brief(text))
	}
}

// testAgent: the sidecar's helper is small, and shows health and metrics on its host.
func (s *site) testAgent(t *testing.T) {
	door := must(s.Door("details-v1"))(t)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		answer := must(door.Get(t.Context(), "http://127.0.0.1:15090"+path))(t)
		if answer.Status != http.StatusOK {
			t.Errorf("%s: status %d: %s", path, answer.Status, answer.Body)
		}
	}
	if code, text := program(t, s.root.Binary("sidecar-agent"), "--help"); code != 0 || !strings.Contains(text, "-name") {
		t.Errorf("sidecar-agent --help: exit code %d: %s", code, brief(text))
	}
	other := must(s.Door("hub"))(t)
	host := must(s.Host("details-v1"))(t)
	if answer, err := other.Get(t.Context(), "http://"+net.JoinHostPort(host.Address, "15090")+"/metrics"); err == nil && answer.Status == http.StatusOK {
		t.Error("the agent's page can be read from another host")
	}
}
