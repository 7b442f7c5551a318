package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

var update = flag.Bool("update", false, "rewrite the wanted parts of testdata")

// took is what differs from run to run.
var took = regexp.MustCompile(`\(\d+(ms|\.\d+s|s)\)`)

func newPilot() *pilot {
	wait := func(outcome pilotv1.WaitResponse_Outcome, live, interested uint32) *pilotv1.WaitResponse {
		return &pilotv1.WaitResponse{Outcome: outcome, Live: live, Interested: interested}
	}
	late := wait(pilotv1.WaitResponse_TIMED_OUT, 5, 7)
	late.Missing = []string{"details-v1.default", "reviews-v2.default"}
	no := wait(pilotv1.WaitResponse_REFUSED, 6, 7)
	no.Refused = []*pilotv1.Refusal{{Proxy: "details-v1.default", Resource: "route 9080", Message: "regex program size of 2000 > max 100"}}
	return &pilot{
		objects: map[string]*configv1.Object{},
		waits: map[string][]*pilotv1.WaitResponse{
			"reviews": {wait(pilotv1.WaitResponse_OUTCOME_UNSPECIFIED, 2, 7), wait(pilotv1.WaitResponse_LIVE, 7, 7)},
			"one":     {wait(pilotv1.WaitResponse_LIVE, 1, 1)},
			"nobody":  {wait(pilotv1.WaitResponse_LIVE, 0, 0)},
			"late":    {late}, "refused": {no}, "cut": {},
		},
		status: &pilotv1.GetStatusResponse{
			Bus: &pilotv1.BusStatus{Connected: true, ConfigRevision: 12, RegistryRevision: 40}, Revision: 12, Services: 5, Workloads: 7,
			Proxies: []*pilotv1.ProxyStatus{
				{Name: "reviews-v1.default", Role: "sidecar", Address: "10.77.1.3", Acknowledged: 12, Protocol: "delta", EnvoyVersion: "1.40.0"},
				{Name: "ingress", Role: "ingress", Address: "10.77.0.1", Acknowledged: 11, Protocol: "sotw", EnvoyVersion: "1.40.0",
					Refused: []*pilotv1.Refusal{{Proxy: "ingress", Resource: "route 8080", Message: "no such thing"}}},
			},
			Objects: []*pilotv1.ObjectStatus{{Ref: &configv1.ObjectRef{Kind: "RouteRule", Namespace: "default", Name: "reviews"},
				Revision: 12, Interested: 7, Live: 6, Origin: "file:/etc/outrigger/rules/reviews.yaml"}},
			RegistryProblems: []*pilotv1.Problem{{Object: "Service default/large", Message: "not in force, the registry is not up to date: too large"}},
			FileProblems: []*pilotv1.Problem{{File: "/etc/outrigger/rules/jason.yaml", Line: 5, Column: 3,
				Object: "RouteRule default/jason", Field: "spec.presidence", Message: "unknown field; did you mean precedence?"}},
		},
	}
}

// TestSessions runs each txtar file as one session with one pilot: a part "file NAME" is
// written to disk, one named "$ …" is a command line whose standard input it holds, and
// the part "want" after it is what came of it.
func TestSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			path, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			newPilot().serve(t, ".outrigger")
			session(t, path, ar)
		})
	}
}

func session(t *testing.T, file string, ar *txtar.Archive) {
	t.Helper()
	var fresh []txtar.File
	for i, part := range ar.Files {
		if part.Name == "want" {
			continue
		}
		fresh = append(fresh, part)
		if name, ok := strings.CutPrefix(part.Name, "file "); ok {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, part.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		args := strings.Fields(strings.TrimPrefix(part.Name, "$ "))
		for i, arg := range args {
			args[i] = strings.TrimPrefix(arg, "''") // an empty one
		}
		got := command(args, part.Data)
		want := ""
		if i+1 < len(ar.Files) && ar.Files[i+1].Name == "want" {
			want = string(ar.Files[i+1].Data)
		}
		fresh = append(fresh, txtar.File{Name: "want", Data: []byte(got)})
		if d := cmp.Diff(want, got); d != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", part.Name, d)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(&txtar.Archive{Comment: ar.Comment, Files: fresh}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// command runs a command line and shows all that came of it.
func command(args []string, in []byte) string {
	var out, errs bytes.Buffer
	code := Main(args, bytes.NewReader(in), &out, &errs)
	text := out.String()
	if errs.Len() > 0 {
		text += "stderr:\n" + errs.String()
	}
	return took.ReplaceAllString(fmt.Sprintf("%sexit %d\n", text, code), "(some time)")
}

func TestTooLargeIsNotSent(t *testing.T) {
	t.Chdir(t.TempDir())
	newPilot().serve(t, ".outrigger")
	if err := os.WriteFile("large.yaml", bytes.Repeat([]byte("#"), 10<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "stderr:\nlarge.yaml:1: the file has 10.0 MiB; at most 4.0 MiB are taken, which end on this line: split it before\n" +
		"outrigger: refused, nothing was changed: see the line above\nexit 1\n"
	if d := cmp.Diff(want, command([]string{"apply", "-f", "large.yaml"}, nil)); d != "" {
		t.Errorf("a file (-want +got):\n%s", d)
	}
	want = "stderr:\n<stdin>:1: more than 4.0 MiB, which is all that is taken, and passes that on this line: split it before\n" +
		"outrigger: refused, nothing was changed: see the line above\nexit 1\n"
	if d := cmp.Diff(want, command([]string{"apply", "-f", "-"}, bytes.Repeat([]byte("#"), 10<<20))); d != "" {
		t.Errorf("standard input (-want +got):\n%s", d)
	}
}

func TestNoMesh(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"get", "all"}, {"status"}, {"delete", "rule", "x"}, {"wait"}} {
		if got := command(args, nil); !strings.Contains(got, "no mesh runs with the state folder .outrigger") || !strings.HasSuffix(got, "exit 1\n") {
			t.Errorf("%v: got %q", args, got)
		}
	}
	newPilot().serve(t, ".outrigger")
	if err := os.Remove(".outrigger/run/pilot.grpc.sock"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(".outrigger/run/pilot.grpc.sock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := command([]string{"get", "all"}, nil); !strings.Contains(got, "pilot does not answer at .outrigger/run/pilot.grpc.sock\n"+
		"see how it is with `outrigger fleet status`, and why in its log, .outrigger/log/pilot.log\nexit 1\n") {
		t.Errorf("nobody listens: got %q", got)
	}
}

// TestWhoSaysNo tells what pilot says from what the way to it says.
func TestWhoSaysNo(t *testing.T) {
	t.Chdir(t.TempDir())
	p := newPilot()
	p.busy = status.Error(codes.Unavailable, "not read yet")
	p.serve(t, ".outrigger")
	want := "stderr:\noutrigger: pilot at .outrigger/run/pilot.grpc.sock cannot do this now: not read yet\nexit 1\n"
	if got := command([]string{"status"}, nil); got != want {
		t.Errorf("pilot is busy: got %q, want %q", got, want)
	}
	var c connection
	c.heard.HandleRPC(t.Context(), &stats.InTrailer{})
	c.heard.HandleRPC(t.Context(), &stats.Begin{}) // of a call that is cut
	c.server = "pilot:1"
	got := c.explain(status.Error(codes.Unavailable, `connection error: desc = "transport: authentication handshake failed: x"`)).Error()
	if want := "pilot does not answer at pilot:1: authentication handshake failed: x"; got != want {
		t.Errorf("the way is closed: got %q, want %q", got, want)
	}
}

// TestServer reaches pilot with certificates: both sides prove who they are.
func TestServer(t *testing.T) {
	t.Chdir(t.TempDir())
	root := newAuthority(t)
	root.write(t, "ca.pem", nil)
	root.issue(t, "admin", "spiffe://cluster.local/ns/outrigger-system/sa/admin")
	root.issue(t, "pilot", defaultPilot)
	newAuthority(t).issue(t, "stranger", "spiffe://cluster.local/ns/outrigger-system/sa/admin")
	pair, err := tls.LoadX509KeyPair("pilot.pem", "pilot.key")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	newPilot().listen(t, l, grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: root.pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	t.Setenv("OUTRIGGER_SERVER", l.Addr().String())
	t.Setenv("OUTRIGGER_CA", "ca.pem")
	for name, c := range map[string]struct {
		args []string
		want string
		code int
	}{
		"right":         {[]string{"--cert", "admin.pem", "--key", "admin.key"}, "bus: connected", 0},
		"foreign":       {[]string{"--cert", "stranger.pem", "--key", "stranger.key"}, "pilot does not answer at ", 1},
		"another pilot": {[]string{"--cert", "admin.pem", "--key", "admin.key", "--server-id", "spiffe://cluster.local/ns/a/sa/b"}, "the server is " + defaultPilot, 1},
		"no key":        {[]string{"--cert", "admin.pem"}, "--server needs --cert, --key and --ca", 2},
		"no file":       {[]string{"--cert", "none.pem", "--key", "admin.key"}, "--cert and --key: open none.pem", 2},
	} {
		got := command(append([]string{"status"}, c.args...), nil)
		if !strings.Contains(got, c.want) || !strings.HasSuffix(got, fmt.Sprintf("exit %d\n", c.code)) {
			t.Errorf("%s: got %q, want %q in it and exit %d", name, got, c.want, c.code)
		}
	}
}

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
	raw, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// write writes a certificate as PEM, the authority's own if it is nil.
func (a *authority) write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if raw == nil {
		raw = a.cert.Raw
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue makes name.pem and name.key for an identity.
func (a *authority) issue(t *testing.T, name, id string) {
	t.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", raw)
	text, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}), 0o600); err != nil {
		t.Fatal(err)
	}
}
