package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/spiffe"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// callTimeout bounds a call that waits for nobody but pilot.
const callTimeout = 60 * time.Second

// maxAnswer bounds an answer of pilot, in bytes.
const maxAnswer = 16 << 20

// maxSocketPath is what fits into the address of a Unix socket.
const maxSocketPath = 107

// defaultPilot is who pilot is unless told otherwise.
const defaultPilot = "spiffe://cluster.local/ns/outrigger-system/sa/pilot"

// connection says where pilot is. Each flag has an environment variable, which the flag
// overrides.
type connection struct {
	state, server, cert, key, ca, serverID string
	heard                                  heard
}

func (c *connection) flags(command *cobra.Command) {
	flags := command.Flags()
	stateFlag(flags, &c.state, "state folder of the mesh of this machine")
	for _, f := range []struct {
		to                        *string
		name, variable, def, help string
	}{
		{&c.server, "server", "OUTRIGGER_SERVER", "", "`HOST:PORT` of pilot, instead of the mesh of this machine"},
		{&c.cert, "cert", "OUTRIGGER_CERT", "", "with --server: file with your certificate chain"},
		{&c.key, "key", "OUTRIGGER_KEY", "", "with --server: file with its key"},
		{&c.ca, "ca", "OUTRIGGER_CA", "", "with --server: file with the mesh's root certificates"},
		{&c.serverID, "server-id", "OUTRIGGER_SERVER_ID", defaultPilot, "with --server: identity that pilot must prove"},
	} {
		def := f.def
		if v := os.Getenv(f.variable); v != "" {
			def = v
		}
		flags.StringVar(f.to, f.name, def, f.help+" ("+f.variable+")")
	}
}

// dial connects to pilot. Errors are those of the arguments; that nobody answers shows
// at the first call.
func (c *connection) dial() (*grpc.ClientConn, error) {
	limit := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer))
	if c.server != "" {
		cfg, err := c.tls()
		if err != nil {
			return nil, &Exit{Code: exitUsage, Err: err}
		}
		return grpc.NewClient("dns:///"+c.server, grpc.WithTransportCredentials(credentials.NewTLS(cfg)), limit, grpc.WithStatsHandler(&c.heard))
	}
	path, err := c.socket()
	if err != nil {
		return nil, err
	}
	if err := c.knock(); err != nil {
		return nil, err
	}
	return grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()), limit,
		grpc.WithStatsHandler(&c.heard), grpc.WithContextDialer(c.door))
}

// socket finds pilot's socket in the state folder.
func (c *connection) socket() (string, error) {
	path := filepath.Join(c.state, "run", "pilot.grpc.sock")
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("no mesh runs with the state folder %s: there is no %s\n"+
				"start one with `outrigger up`, or name another folder with --state or a server with --server", c.state, path)
		}
		return "", err
	}
	abs, err := filepath.Abs(path)
	if err == nil && len(abs) <= maxSocketPath {
		return abs, nil
	}
	return path, nil // shorter, and as good while nobody changes the folder
}

// tls makes the settings of a connection on which both sides prove who they are.
func (c *connection) tls() (*tls.Config, error) {
	if c.cert == "" || c.key == "" || c.ca == "" {
		return nil, errors.New("--server needs --cert, --key and --ca")
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("--cert and --key: %w", err)
	}
	text, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca: no certificate in %s", c.ca)
	}
	want, err := spiffe.Parse(c.serverID)
	if err != nil {
		return nil, fmt.Errorf("--server-id: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		// Host names mean nothing in the mesh: VerifyConnection checks chain and identity.
		InsecureSkipVerify: true, //nolint:gosec // verified below
		VerifyConnection:   func(cs tls.ConnectionState) error { return verify(cs.PeerCertificates, roots, want) },
	}, nil
}

// verify checks that a chain leads to roots and belongs to want.
func verify(chain []*x509.Certificate, roots *x509.CertPool, want spiffe.ID) error {
	if len(chain) == 0 {
		return errors.New("the server shows no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := chain[0].Verify(opts); err != nil {
		return err
	}
	id, err := spiffe.FromCertificate(chain[0])
	if err != nil {
		return err
	}
	if id != want {
		return fmt.Errorf("the server is %s, want %s", id, want)
	}
	return nil
}

// with dials, calls, and hangs up.
func (c *connection) with(ctx context.Context, s streams, call func(context.Context, *grpc.ClientConn) error) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := call(ctx, conn); err != nil {
		return c.explain(err)
	}
	return nil
}

// explain turns an error of a call into what a person can act on.
func (c *connection) explain(err error) error {
	var exit *Exit
	st, ok := status.FromError(err)
	if errors.As(err, &exit) || !ok {
		return err
	}
	for _, d := range st.Details() {
		if p, ok := d.(*pilotv1.Problems); ok && len(p.GetProblems()) > 0 {
			return &refusal{p.GetProblems()}
		}
	}
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded:
		if !c.heard.answered.Load() {
			return c.silent(st.Message())
		}
		return fmt.Errorf("pilot at %s cannot do this now: %s", c.where(), st.Message())
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("pilot at %s refuses you: %s", c.where(), st.Message())
	}
	return errors.New(st.Message())
}

// oneOf checks the value of a flag.
func oneOf(flag, value string, of ...string) error {
	if slices.Contains(of, value) {
		return nil
	}
	return &Exit{Code: exitUsage, Err: fmt.Errorf("--%s is one of %s, not %q", flag, strings.Join(of, ", "), value)}
}
