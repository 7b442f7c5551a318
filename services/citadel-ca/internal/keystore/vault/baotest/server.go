// Package baotest runs a real Vault-compatible server, OpenBao, for tests. In: the bao
// binary below .tools. Out: a server on loopback with TLS and a Transit engine, that can
// be killed, hung, sealed and brought back, and that ends with the test.
package baotest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// Server is a real Vault-compatible server with TLS and its data on disk, so that it
// can be killed and started again.
type Server struct {
	t      *testing.T
	dir    string
	Addr   string      // https://127.0.0.1:port
	CA     string      // file
	Root   *api.Client // as root
	unseal string      // key
	cmd    *exec.Cmd
}

// binary is the one that OUTRIGGER_BAO names, or .tools/bao of the repository.
func binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("OUTRIGGER_BAO"); path != "" {
		return path
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		path := filepath.Join(dir, ".tools", "bao")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	t.Fatal("no .tools/bao, the Vault-compatible server of the tests: run make setup, or name one in OUTRIGGER_BAO")
	return ""
}

// Launch starts a new, empty server with a Transit engine.
func Launch(t *testing.T) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir()}
	ports := freePorts(t)
	s.Addr = fmt.Sprintf("https://127.0.0.1:%d", ports[0])
	s.certificate()
	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("config.hcl", fmt.Appendf(nil, `
storage "raft" {
  path    = %q
  node_id = "one"
  performance_multiplier = 1
}
listener "tcp" {
  address         = "127.0.0.1:%[2]d"
  cluster_address = "127.0.0.1:%[3]d"
  tls_cert_file   = %[4]q
  tls_key_file    = %[5]q
}
api_addr     = "https://127.0.0.1:%[2]d"
cluster_addr = "https://127.0.0.1:%[3]d"
log_level    = "warn"
`, data, ports[0], ports[1], filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem")))
	var err error
	cfg := api.DefaultConfig()
	cfg.Address, cfg.Timeout, cfg.MaxRetries = s.Addr, 10*time.Second, 0
	if err = cfg.ConfigureTLS(&api.TLSConfig{CACert: s.CA}); err != nil {
		t.Fatal(err)
	}
	if s.Root, err = api.NewClient(cfg); err != nil {
		t.Fatal(err)
	}
	s.start()
	init, err := s.Root.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatalf("init: %v", err)
	}
	s.unseal = init.Keys[0]
	s.Root.SetToken(init.RootToken)
	s.Unseal()
	if err := s.Root.Sys().Mount("transit", &api.MountInput{Type: "transit"}); err != nil {
		t.Fatalf("mount transit: %v", err)
	}
	return s
}

// freePorts returns two ports that nobody listened on a moment ago.
func freePorts(t *testing.T) [2]int {
	t.Helper()
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // for its port
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()                         //nolint:errcheck // nothing was accepted
		ports[i] = l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener
	}
	return ports
}

func (s *Server) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) certificate() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "vault"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	s.write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	s.CA = filepath.Join(s.dir, "cert.pem")
}

// start runs the server until the test ends or stop is called, and returns when it
// answers.
func (s *Server) start() {
	s.t.Helper()
	var said bytes.Buffer
	s.cmd = exec.Command(binary(s.t), "server", "-config="+filepath.Join(s.dir, "config.hcl"))
	s.cmd.Stdout, s.cmd.Stderr = &said, &said
	s.cmd.Env = []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH")}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start bao: %v", err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			s.Stop()
		}
	})
	s.wait(func() error {
		_, err := s.Root.Sys().InitStatus()
		return err
	}, &said)
}

// wait asks again until f has no complaint; the server tells nobody when it is ready.
func (s *Server) wait(f func() error, said fmt.Stringer) {
	s.t.Helper()
	end := time.After(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-end:
			s.t.Fatalf("bao is not ready: %v\n%s", err, said)
		case <-tick.C:
		}
	}
}

// Unseal opens the server's data.
func (s *Server) Unseal() {
	s.t.Helper()
	if _, err := s.Root.Sys().Unseal(s.unseal); err != nil {
		s.t.Fatalf("unseal: %v", err)
	}
	s.wait(func() error {
		h, err := s.Root.Sys().Health()
		if err == nil && (h.Sealed || h.Standby) {
			return errors.New("sealed or standby")
		}
		return err
	}, new(bytes.Buffer))
}

// Stop kills the server, as a crash would.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Errorf("kill bao: %v", err)
	}
	if err := s.cmd.Wait(); err == nil {
		s.t.Error("bao ended by itself")
	}
}

// Pause stops the server without ending it: it takes connections and says nothing.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Continue takes Pause back.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Again starts a stopped server on the same data.
func (s *Server) Again() {
	s.t.Helper()
	s.start()
	s.Unseal()
}

// Set writes to a path as root.
func (s *Server) Set(path string, data map[string]any) {
	s.t.Helper()
	if _, err := s.Root.Logical().Write(path, data); err != nil {
		s.t.Fatalf("write %s: %v", path, err)
	}
}

// Policy is what the package comment says a token needs.
func Policy(key string) string {
	return fmt.Sprintf("path \"transit/keys/%s\" { capabilities = [\"read\"] }\npath \"transit/sign/%s\" { capabilities = [\"update\"] }\n", key, key)
}

// TokenFor makes a token with that policy and nothing else, and returns its file.
func (s *Server) TokenFor(t *testing.T, rules string, life time.Duration, more ...string) string {
	t.Helper()
	name := "p" + rand.Text()
	if err := s.Root.Sys().PutPolicy(name, rules); err != nil {
		t.Fatal(err)
	}
	renewable := true
	secret, err := s.Root.Auth().Token().Create(&api.TokenCreateRequest{
		Policies: append(more, name), NoDefaultPolicy: len(more) == 0, TTL: life.String(), Renewable: &renewable,
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(secret.Auth.ClientToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Ends returns when a token ends.
func (s *Server) Ends(token string) time.Time {
	s.t.Helper()
	secret, err := s.Root.Auth().Token().Lookup(token)
	if err != nil {
		s.t.Fatal(err)
	}
	text, _ := secret.Data["expire_time"].(string)
	end, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		s.t.Fatalf("expire_time: %v", err)
	}
	return end
}
