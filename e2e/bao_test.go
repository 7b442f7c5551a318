package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// bao is a Vault-compatible server for one test, with its Transit engine mounted.
type bao struct {
	address string
	ca      []byte // PEM
	client  *http.Client
}

const (
	baoRoot = "root-for-a-test"
	// baoName is in its certificate.
	baoName = "localhost"
	// baoHub is where the fleet reaches it, by the socket baoSocket.
	baoHub    = "10.77.0.1:8200"
	baoSocket = "vault.sock"
	baoKey    = "outrigger-ca"
)

// startBao runs the server on a free port of the loopback.
func startBao(t *testing.T, root mesh.Root) *bao {
	t.Helper()
	probe := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	b := &bao{address: probe.Addr().String()}
	check(t, probe.Close())
	dir := t.TempDir()
	command := exec.Command(root.Path(".tools", "bao"), "server", "-dev", "-dev-root-token-id", baoRoot, "-dev-no-store-token",
		"-dev-listen-address", b.address, "-dev-tls", "-dev-tls-cert-dir", dir)
	command.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(t, command.Start())
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Logf("the Vault-compatible server printed:\n%s", brief(output.String()))
		}
	})
	eventually(t, 20*time.Second, func(context.Context) (err error) {
		b.ca, err = os.ReadFile(filepath.Join(dir, "vault-ca.pem"))
		return err
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.ca)
	b.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: baoName},
	}}
	eventually(t, 20*time.Second, func(ctx context.Context) error {
		return b.call(ctx, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"}, nil)
	})
	return b
}

// call uses the server's API as its root. into may be nil.
func (b *bao) call(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "https://"+b.address+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", baoRoot)
	answer, err := mesh.Do(b.client, request)
	if err != nil {
		return err
	}
	if answer.Status >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: status %d: %s", method, path, answer.Status, answer.Body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal([]byte(answer.Body), into)
}

// token makes the key and a token that may do with it what policy says.
func (b *bao) token(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	check(t, b.call(ctx, http.MethodPost, "transit/keys/"+baoKey, map[string]any{"type": "ecdsa-p256"}, nil))
	b.allow(t, true)
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	check(t, b.call(ctx, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"outrigger"}, "ttl": "1h"}, &made))
	return made.Auth.Token
}

// allow lets the token read the key and sign with it, or not read it.
func (b *bao) allow(t *testing.T, read bool) {
	t.Helper()
	policy := `path "transit/sign/` + baoKey + `" { capabilities = ["update"] }
path "transit/sign/` + baoKey + `/*" { capabilities = ["update"] }
`
	if read {
		policy += `path "transit/keys/` + baoKey + `" { capabilities = ["read"] }`
	}
	check(t, b.call(t.Context(), http.MethodPut, "sys/policies/acl/outrigger", map[string]any{"policy": policy}, nil))
}

// serveAt carries connections from a Unix socket to the server until the test ends.
func (b *bao) serveAt(path string) (net.Listener, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go carry(near, func() (net.Conn, error) { return net.DialTimeout("tcp", b.address, time.Second) })
		}
	}()
	return listener, nil
}

// carry moves bytes both ways until one side ends.
func carry(near net.Conn, dial func() (net.Conn, error)) {
	defer near.Close()
	far, err := dial()
	if err != nil {
		return
	}
	defer far.Close()
	done := make(chan struct{}, 2) // one for each direction
	for _, way := range [][2]net.Conn{{far, near}, {near, far}} {
		go func() {
			io.Copy(way[0], way[1])
			done <- struct{}{}
		}()
	}
	<-done
}

// secretFile writes a file that only a user of the fleet can read.
func secretFile(path string, text []byte, uid int) error {
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	return errors.Join(os.Chmod(path, 0o600), os.Chown(path, uid, uid))
}
