package mixer

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/mixer/v1"
	"google.golang.org/grpc"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// alone is mixer with nobody to talk to, on Unix sockets only.
func alone(t *testing.T) Config {
	t.Helper()
	cfg := DefaultConfig()
	dir, err := os.MkdirTemp("", "mixer") // t.TempDir's paths are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg.Listen = rpc.Config{Sockets: dir}
	cfg.Identity.Authority = "https://127.0.0.1:1"
	cfg.Bus.Servers = []string{"127.0.0.1:1"}
	cfg.Adapters.Prometheus = ""
	cfg.Telemetry.LogLevel = "error"
	return cfg
}

func TestStartsAlone(t *testing.T) {
	t.Parallel()
	cfg := alone(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, io.Discard, io.Discard) }()
	conn, err := rpc.DialSocket(filepath.Join(cfg.Listen.Sockets, "mixer.grpc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	call, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	st, err := mixerv1.NewAdminServiceClient(conn).GetStatus(call, &mixerv1.GetStatusRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if st.GetConfigRevision() != 0 || len(st.GetRules()) != 0 {
		t.Errorf("got %v, want nothing", st)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("mixer does not end")
	}
}

func TestRefusesWrongSettings(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"bus.ids":                      func(c *Config) { c.Bus.IDs = []string{"pilot"} },
		"processorShare: 0":            func(c *Config) { c.ProcessorShare = 0 },
		"processorShare: 1.5":          func(c *Config) { c.ProcessorShare = 1.5 },
		"processorShare: NaN":          func(c *Config) { c.ProcessorShare = math.NaN() },
		"bus.servers":                  func(c *Config) { c.Bus.Servers = nil },
		"listen.admins":                func(c *Config) { c.Listen.Admins = []string{"admin"} },
		"policy.domain":                func(c *Config) { c.Policy.Domain = "Not A Domain" },
		"identity.id":                  func(c *Config) { c.Identity.ID = "mixer" },
		"logLevel":                     func(c *Config) { c.Telemetry.LogLevel = "loud" },
		"serve the prometheus adapter": func(c *Config) { c.Adapters.Prometheus = "256.0.0.1:42422" },
	} {
		cfg := alone(t)
		change(&cfg)
		if err := Run(t.Context(), cfg, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
}

func TestShippedSettingsAreGood(t *testing.T) {
	t.Parallel()
	cfg, err := conf.Load("mixer", "", []string{"--config", "../../deploy/config/mixer.yaml"}, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.check(); err != nil {
		t.Error(err)
	}
	if cfg.Bus.Keep == "" || cfg.Identity.Dir == "" {
		t.Errorf("keep %q, identity %q: want folders", cfg.Bus.Keep, cfg.Identity.Dir)
	}
}

func TestWhoMayReportForAll(t *testing.T) {
	t.Parallel()
	id := func(text string) spiffe.ID {
		t.Helper()
		out, err := spiffe.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	cfg := DefaultConfig()
	admin := id("spiffe://cluster.local/ns/ops/sa/admin")
	trusted := checked{admins: map[spiffe.ID]bool{admin: true}, own: id(cfg.Identity.ID)}.trusted()
	for text, want := range map[string]bool{
		"spiffe://cluster.local/ns/ops/sa/admin":                true,
		"spiffe://cluster.local/ns/outrigger-system/sa/ingress": true,
		"spiffe://cluster.local/ns/default/sa/ingress":          false,
		"spiffe://other.domain/ns/outrigger-system/sa/ingress":  false,
	} {
		if got := trusted(id(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
