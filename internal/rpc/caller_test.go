package rpc_test

import (
	"cmp"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/internal/identity/identitytest"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	"github.com/outrigger-mesh/outrigger/internal/telemetry"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
)

// knock is the variable by which this test binary is asked to knock at a socket.
const knock = "OUTRIGGER_TEST_KNOCK"

func TestMain(m *testing.M) {
	if path := os.Getenv(knock); path != "" {
		os.Exit(knockAt(path))
	}
	os.Exit(m.Run())
}

// knockAt returns 0 if somebody answers a client's first bytes, and 1 if the connection
// is closed without a word.
func knockAt(path string) int {
	c, err := (&net.Dialer{}).DialContext(context.Background(), "unix", path)
	if err != nil {
		return 2
	}
	defer c.Close() //nolint:errcheck // the process ends
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 2
	}
	// What does not arrive was not wanted; the answer tells.
	_, _ = c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	if n, err := c.Read(make([]byte, 1)); n == 0 || err != nil {
		return 1
	}
	return 0
}

// echo answers with who calls, and panics where it is told to drain.
type echo struct {
	gatewayv1.UnimplementedGatewayServiceServer
}

func (echo) GetStatus(ctx context.Context, _ *gatewayv1.GetStatusRequest) (*gatewayv1.GetStatusResponse, error) {
	return &gatewayv1.GetStatusResponse{WaitingFor: rpc.CallerFrom(ctx).String()}, nil
}

func (echo) Drain(context.Context, *gatewayv1.DrainRequest) (*gatewayv1.DrainResponse, error) {
	panic("password hunter2")
}

const statusMethod = gatewayv1.GatewayService_GetStatus_FullMethodName

// serve runs a server that gives access to GetStatus alone, and returns it with its
// authority, its address and its socket.
func serve(t *testing.T, access rpc.Access) (*rpc.Server, *identitytest.Authority, string, string) {
	t.Helper()
	return serveAged(t, access, 0)
}

// serveAged is serve with an age of connections.
func serveAged(t *testing.T, access rpc.Access, age time.Duration) (*rpc.Server, *identitytest.Authority, string, string) {
	t.Helper()
	ca := identitytest.New(t, "cluster.local")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil { // only its number was wanted
		t.Fatal(err)
	}
	cfg := rpc.Config{GRPC: address, Sockets: t.TempDir(), Admins: []string{"spiffe://cluster.local/ns/outrigger-system/sa/admin"}, ConnectionAge: age}
	s, err := rpc.NewServer("echo", cfg, ca.Source("outrigger-system", "echo").ServerTLS(false), map[string]rpc.Access{statusMethod: access}, telemetry.Discard())
	if err != nil {
		t.Fatal(err)
	}
	gatewayv1.RegisterGatewayServiceServer(s.GRPC(), echo{})
	s.GRPC().RegisterService(&hold, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return s, ca, address, filepath.Join(cfg.Sockets, "echo.grpc.sock")
}

func client(t *testing.T, conn *grpc.ClientConn, err error) gatewayv1.GatewayServiceClient {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return gatewayv1.NewGatewayServiceClient(conn)
}

// forged claims in the gateway's words to be somebody else.
func forged(t *testing.T) context.Context {
	id, err := spiffe.Parse("spiffe://cluster.local/ns/outrigger-system/sa/admin")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return metadata.NewOutgoingContext(ctx, rpc.GatewayMetadata(rpc.Caller{ID: id, Local: true, Address: "1.2.3.4:5"}))
}

func TestNobodyIsBelievedInTheGatewaysWords(t *testing.T) {
	s, ca, address, socket := serve(t, rpc.Mesh)
	own := ca.Source("outrigger-system", "echo").Current().ID
	connection, err := rpc.Dial(address, ca.Source("default", "web").ClientTLS(own))
	web := client(t, connection, err)
	connection, err = rpc.DialSocket(socket)
	local := client(t, connection, err)
	for name, c := range map[string]struct {
		client gatewayv1.GatewayServiceClient
		want   string
	}{
		"a certificate counts by TLS": {web, "spiffe://cluster.local/ns/default/sa/web"},
		"the user counts by socket":   {local, "local administrator"},
		"the gateway's word is good":  {gatewayv1.NewGatewayServiceClient(s.Loopback()), "local administrator"},
	} {
		res, err := c.client.GetStatus(forged(t), &gatewayv1.GetStatusRequest{}, grpc.WaitForReady(true))
		if err != nil || res.GetWaitingFor() != c.want {
			t.Errorf("%s: caller %q, %v; want %q", name, res.GetWaitingFor(), err, c.want)
		}
	}
	if _, err := web.Drain(forged(t), &gatewayv1.DrainRequest{}, grpc.WaitForReady(true)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a workload that says it is the administrator: %v, want permission denied", err)
	}
}

func TestAccess(t *testing.T) {
	for level, want := range map[rpc.Access]map[string]codes.Code{
		rpc.Admin: {"": codes.Unauthenticated, "web": codes.PermissionDenied, "admin": codes.OK},
		rpc.Mesh:  {"": codes.Unauthenticated, "web": codes.OK, "admin": codes.OK},
		rpc.Open:  {"": codes.OK, "web": codes.OK, "admin": codes.OK},
	} {
		_, ca, address, _ := serve(t, level)
		own := ca.Source("outrigger-system", "echo").Current().ID
		for account, code := range want {
			cfg := ca.Source("outrigger-system", cmp.Or(account, "nobody")).ClientTLS(own)
			if account == "" {
				cfg.GetClientCertificate = nil // shows none
			}
			connection, err := rpc.Dial(address, cfg)
			c := client(t, connection, err)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err = c.GetStatus(ctx, &gatewayv1.GetStatusRequest{}, grpc.WaitForReady(true))
			cancel()
			if status.Code(err) != code {
				t.Errorf("access %d, caller %q: %v, want %v", level, account, err, code)
			}
		}
	}
}

// A request that is larger than what is read shows whether it was looked at.
func TestARefusedRequestIsNotRead(t *testing.T) {
	_, ca, address, _ := serve(t, rpc.Mesh)
	own := ca.Source("outrigger-system", "echo").Current().ID
	for account, want := range map[string]codes.Code{"": codes.Unauthenticated, "web": codes.ResourceExhausted} {
		cfg := ca.Source("default", cmp.Or(account, "nobody")).ClientTLS(own)
		if account == "" {
			cfg.GetClientCertificate = nil // shows none
		}
		connection, err := rpc.Dial(address, cfg)
		client(t, connection, err)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err = connection.Invoke(ctx, statusMethod, wrapperspb.Bytes(make([]byte, 17<<20)), &gatewayv1.GetStatusResponse{}, grpc.WaitForReady(true), grpc.MaxCallSendMsgSize(32<<20))
		cancel()
		if status.Code(err) != want {
			t.Errorf("caller %q: %v, want %v", account, err, want)
		}
	}
}

func TestAPanicEndsItsCallOnly(t *testing.T) {
	_, _, _, socket := serve(t, rpc.Mesh)
	connection, err := rpc.DialSocket(socket)
	c := client(t, connection, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = c.Drain(ctx, &gatewayv1.DrainRequest{}, grpc.WaitForReady(true))
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a panic: %v, want an internal error without its text", err)
	}
	if _, err := c.GetStatus(ctx, &gatewayv1.GetStatusRequest{}); err != nil {
		t.Errorf("the call after it: %v", err)
	}
}

// The mode of the socket keeps other users out; where it does not, because somebody
// changed it, the user id does.
func TestOtherUsersAreNotLetIn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("who is not root can only knock as oneself")
	}
	for name, c := range map[string]struct {
		uids []int
		uid  uint32
		want int
	}{
		"nobody":            {nil, 65534, 1},
		"nobody, if listed": {[]int{65534}, 65534, 0},
		"oneself":           {nil, uint32(os.Getuid()), 0},
	} {
		if os.Getuid() != 0 && c.uid != uint32(os.Getuid()) {
			continue
		}
		if got := knockAs(t, c.uid, c.uids); got != c.want {
			t.Errorf("%s: the door gave %d, want %d (0 open, 1 closed)", name, got, c.want)
		}
	}
}

// knockAs serves at a socket that anybody may connect to and lets a user try.
func knockAs(t *testing.T, uid uint32, uids []int) int {
	t.Helper()
	dir, err := os.MkdirTemp("", "knock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	path, self := filepath.Join(dir, "x.sock"), filepath.Join(dir, "knock")
	l, err := rpc.ListenSocket(t.Context(), path, uids)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v; want 0600", info.Mode(), err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("!")) // who has gone does not matter
			_ = c.Close()
		}
	}()
	defer l.Close() //nolint:errcheck // end of test
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(executable)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.WriteFile(self, program, 0o755), os.Chmod(dir, 0o755), os.Chmod(path, 0o666)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Dir, cmd.Env = dir, []string{knock + "=" + path}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("knock: %v %s", err, text)
	}
	return cmd.ProcessState.ExitCode()
}
