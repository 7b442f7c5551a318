package envoy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/envoy"
	"github.com/outrigger-mesh/outrigger/internal/envoy/envoytest"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

// supervisorEnv makes the test binary be a supervisor: a process that can be killed.
const supervisorEnv = "ENVOY_TEST_SUPERVISOR"

type supervisorConfig struct {
	Config      envoy.ProcessConfig
	SDS         string
	Certificate *identity.Certificate
}

func TestMain(m *testing.M) {
	if doc := os.Getenv(supervisorEnv); doc != "" {
		os.Exit(supervise(doc))
	}
	os.Exit(m.Run())
}

func supervise(doc string) int {
	return run.Main(func(ctx context.Context) error {
		var c supervisorConfig
		if err := json.Unmarshal([]byte(doc), &c); err != nil {
			return fmt.Errorf("test supervisor: %w", err)
		}
		log := slog.New(slog.DiscardHandler)
		sds, err := envoy.ListenSDS(c.SDS, newSecrets(c.Certificate), log)
		if err != nil {
			return err
		}
		var g run.Group
		g.Add("sds", sds.Run)
		g.Add("process", envoy.NewProcess(c.Config, envoy.NewAdmin(envoy.AdminSocket(c.Config.Dir)), log).Run)
		return g.Run(ctx)
	})
}

// startSupervisor runs the proxy under a process of its own.
func startSupervisor(t *testing.T, p *proxy) *exec.Cmd {
	t.Helper()
	bootstrap, err := envoy.Bootstrap(p.config)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(supervisorConfig{
		Config: envoy.ProcessConfig{
			Binary: envoytest.Binary(t), Dir: p.dir, NodeID: p.config.Node.ID(), Bootstrap: bootstrap, StopTime: 5 * time.Second,
		},
		SDS: p.config.SDSSocket, Certificate: p.secrets.Current(),
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0]) // ourselves
	cmd.Env = append(os.Environ(), supervisorEnv+"="+string(doc))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// attach makes a client of an Envoy that another process runs.
func (p *proxy) attach() { p.admin = envoy.NewAdmin(p.config.AdminSocket) }

// envoyPID waits for Envoy to answer and returns its process id.
func (p *proxy) envoyPID() int {
	p.t.Helper()
	deadline := within(p.t, 20*time.Second)
	for {
		if pid, err := p.admin.Process(deadline); err == nil {
			return pid
		}
		p.tick(deadline, "answer of Envoy")
	}
}
