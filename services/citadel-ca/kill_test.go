package citadelca_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/run"
	citadelca "github.com/outrigger-mesh/outrigger/services/citadel-ca"
)

// child names the variable with the settings of a service that is a process of its own.
const child = "CITADEL_TEST_CONFIG"

// TestMain turns a child of a test into citadel-ca.
func TestMain(m *testing.M) {
	text := os.Getenv(child)
	if text == "" {
		os.Exit(m.Run())
	}
	var cfg citadelca.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		panic(err)
	}
	os.Exit(run.Main(func(ctx context.Context) error { return citadelca.Run(ctx, cfg) }))
}

// spawn starts the service as a process and returns it with a way to kill it.
func spawn(t *testing.T, cfg citadelca.Config) (s *service, kill func()) {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+string(text))
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	dead := false
	kill = func() {
		if dead {
			return
		}
		dead = true
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill: %v", err)
		}
		<-ended
	}
	t.Cleanup(kill)
	s = &service{t: t, cfg: cfg}
	s.ready(func() error {
		select {
		case <-ended:
			return errors.New(said.String())
		default:
			return nil
		}
	})
	return s, kill
}

func TestAfterKill9TheAuthorityIsTheSameAndUsedTokensAreUsed(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	s, kill := spawn(t, cfg)
	reviews := id(t, "reviews")
	before, used, unused := s.fingerprint(), s.proof(reviews), s.proof(reviews)
	if code, body := s.post(s.anonymous(), "/v1/certificates", request(t, reviews, used.Token)); code != 200 {
		t.Fatalf("first use: %d %s", code, body)
	}
	running := s.source(reviews, 0)
	kill()
	if running.Current() == nil {
		t.Error("a running source has lost its certificate with the authority")
	}
	s, _ = spawn(t, cfg)
	if after := s.fingerprint(); after != before {
		t.Errorf("key %s after kill -9, %s before", after, before)
	}
	if code, body := s.post(s.anonymous(), "/v1/certificates", request(t, reviews, used.Token)); code != 401 || !strings.Contains(body, "used before") {
		t.Errorf("a token used before kill -9: %d %s", code, body)
	}
	if code, body := s.post(s.anonymous(), "/v1/certificates", request(t, reviews, unused.Token)); code != 200 {
		t.Errorf("a token not used before kill -9: %d %s", code, body)
	}
	if code, body := s.post(client(running.ClientTLS(authorityID(t))), "/v1/certificates", request(t, reviews, "")); code != 200 {
		t.Errorf("renewal by a certificate from before kill -9: %d %s", code, body)
	}
}
