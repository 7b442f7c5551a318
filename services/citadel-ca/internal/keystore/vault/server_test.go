package vault

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
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

// server is a real Vault-compatible server with TLS and its data on disk, so that it
// can be killed and started again.
type server struct {
	t      *testing.T
	dir    string
	addr   string // https://127.0.0.1:port
	ca     string // file
	root   *api.Client
	unseal string
	cmd    *exec.Cmd
}

func binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("OUTRIGGER_BAO"); path != "" {
		return path
	}
	found, err := filepath.Glob("../../../../../.tools/bao/*/bao")
	if err != nil || len(found) == 0 {
		t.Fatalf("no bao, the Vault-compatible server, below .tools: run make setup, or name one in OUTRIGGER_BAO (%v)", err)
	}
	return found[len(found)-1]
}

// launch starts a new, empty server with a Transit engine.
func launch(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir()}
	ports := freePorts(t)
	s.addr = fmt.Sprintf("https://127.0.0.1:%d", ports[0])
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
	if s.root, err = connect(Config{Address: s.addr, CAFile: s.ca, Mount: "-", Key: "-", TokenFile: "-", Timeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	s.start()
	init, err := s.root.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatalf("init: %v", err)
	}
	s.unseal = init.Keys[0]
	s.root.SetToken(init.RootToken)
	s.open()
	if err := s.root.Sys().Mount("transit", &api.MountInput{Type: "transit"}); err != nil {
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

func (s *server) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) certificate() {
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
	s.ca = filepath.Join(s.dir, "cert.pem")
}

// start runs the server until the test ends or stop is called, and returns when it
// answers.
func (s *server) start() {
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
			s.stop()
		}
	})
	s.wait(func() error {
		_, err := s.root.Sys().InitStatus()
		return err
	}, &said)
}

// wait asks again until f has no complaint; the server tells nobody when it is ready.
func (s *server) wait(f func() error, said fmt.Stringer) {
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

func (s *server) open() {
	s.t.Helper()
	if _, err := s.root.Sys().Unseal(s.unseal); err != nil {
		s.t.Fatalf("unseal: %v", err)
	}
	s.wait(func() error {
		h, err := s.root.Sys().Health()
		if err == nil && (h.Sealed || h.Standby) {
			return errors.New("sealed or standby")
		}
		return err
	}, new(bytes.Buffer))
}

// stop kills the server, as a crash would.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Errorf("kill bao: %v", err)
	}
	if err := s.cmd.Wait(); err == nil {
		s.t.Error("bao ended by itself")
	}
}

// again starts a stopped server on the same data.
func (s *server) again() {
	s.t.Helper()
	s.start()
	s.open()
}

// set writes to a path as root.
func (s *server) set(path string, data map[string]any) {
	s.t.Helper()
	if _, err := s.root.Logical().Write(path, data); err != nil {
		s.t.Fatalf("write %s: %v", path, err)
	}
}

// policy is what the package comment says a token needs.
func policy(key string) string {
	return fmt.Sprintf("path \"transit/keys/%s\" { capabilities = [\"read\"] }\npath \"transit/sign/%s\" { capabilities = [\"update\"] }\n", key, key)
}

// tokenFor makes a token with that policy and nothing else, and returns its file.
func (s *server) tokenFor(t *testing.T, rules string, life time.Duration, more ...string) string {
	t.Helper()
	name := "p" + rand.Text()
	if err := s.root.Sys().PutPolicy(name, rules); err != nil {
		t.Fatal(err)
	}
	renewable := true
	secret, err := s.root.Auth().Token().Create(&api.TokenCreateRequest{
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

// place makes a key and the settings for it.
func (s *server) place(t *testing.T) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Key = "k" + rand.Text()
	cfg.Address, cfg.CAFile = s.addr, s.ca
	cfg.State = filepath.Join(t.TempDir(), "state", "vault.json")
	cfg.TokenFile = s.tokenFor(t, policy(cfg.Key), time.Hour)
	s.set("transit/keys/"+cfg.Key, map[string]any{"type": "ecdsa-p256"})
	return cfg
}

// describe returns what Vault says of a key, as the store sees it.
func (s *server) describe(ctx context.Context, key string) string {
	s.t.Helper()
	secret, err := s.root.Logical().ReadWithContext(ctx, "transit/keys/"+key)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := json.Marshal(secret.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// ends returns when a token ends.
func (s *server) ends(token string) time.Time {
	s.t.Helper()
	secret, err := s.root.Auth().Token().Lookup(token)
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
