package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// natsUID is the user under which NATS runs beside pilot.
func natsUID() int {
	if os.Geteuid() != 0 {
		return os.Geteuid()
	}
	return 1341
}

// ownBus changes a fleet to one with NATS as a process of its own.
func ownBus(root mesh.Root) func(*mesh.FleetFile) {
	return func(f *mesh.FleetFile) {
		f.Add("services", map[string]any{
			"name": "nats", "command": root.Path(".tools", "nats-server"), "args": []any{"-c", filepath.Join(f.Dir, "nats", "nats.conf")},
			"user": "pilot", "manual": true, "ready": map[string]any{"tcp": "10.77.0.1:4222"},
		})
		f.Flags("pilot", "--bus.servers=10.77.0.1:4222")
		f.Manual("pilot")
		f.NotAfter("ingress", "egress", "mixer")
	}
}

// natsFiles writes the settings that we ship, for a folder of this mesh, and a
// certificate.
func (s *site) natsFiles(t *testing.T) {
	t.Helper()
	folder := filepath.Join(s.Dir, "nats")
	check(t, os.MkdirAll(filepath.Join(folder, "store"), 0o700))
	text := string(must(os.ReadFile(s.root.Path("deploy", "config", "nats.conf")))(t))
	text = strings.ReplaceAll(text, "/var/lib/outrigger/nats", folder)
	id := must(s.Identity(t.Context(), mesh.AccountID("outrigger-system", "nats")))(t)
	for name, content := range map[string][]byte{
		"nats.conf": []byte(text), "cert.pem": id.ChainPEM, "key.pem": id.KeyPEM, "ca.pem": id.RootsPEM,
	} {
		check(t, secretFile(filepath.Join(folder, name), content, natsUID()))
	}
	check(t, filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, natsUID(), natsUID()))
	}))
}

// notReady is nil when a service answers that it is not ready, with a text in the
// reason.
func (s *site) notReady(ctx context.Context, service, reason string) error {
	answer, err := s.Ops(ctx, service, "/readyz")
	if err != nil {
		return err
	}
	if answer.Status != http.StatusServiceUnavailable || !strings.Contains(strings.ToLower(answer.Body), reason) {
		return fmt.Errorf("%s: status %d: %s; want it not ready because of %q", service, answer.Status, answer.Body, reason)
	}
	return nil
}

// listening says whether the ingress's Envoy takes connections.
func (s *site) listening(ctx context.Context) bool {
	door, err := s.Door("hub")
	if err != nil {
		return false
	}
	conn, err := door.Dial(ctx, "tcp", "10.77.0.1:8080")
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// TestE2E09ReadyAndBus: ready means ready, shown by starting ingress ten seconds before
// pilot and pilot before the bus; then the bus, a process of its own, is killed, stopped
// for a minute, and started with an empty disk.
func TestE2E09ReadyAndBus(t *testing.T) {
	root := must(mesh.FindRoot())(t)
	s := prepared(t, mesh.Config{Fleet: ownBus(root), Loose: true})
	check(t, s.Start(t.Context()))
	ok := t.Run("ingress before pilot", s.testIngressFirst) &&
		t.Run("pilot before the bus", s.testPilotFirst)
	if !ok {
		t.Fatal("the mesh is not up: the rest cannot be tested")
	}
	t.Run("ready is of pilot's revision", s.testReadyRevision)
	t.Run("item 8: the bus is killed", s.testBusKilled)
	t.Run("item 8: the bus is away for a minute", s.testBusAway)
	t.Run("item 8: the bus comes back empty", s.testBusEmpty)
}

func (s *site) testIngressFirst(t *testing.T) {
	eventually(t, backLimit, func(ctx context.Context) error {
		return errors.Join(s.Settled("citadel-ca"), s.notReady(ctx, "ingress", "pilot"))
	})
	always(t, 10*time.Second, func(ctx context.Context) error {
		if s.listening(ctx) {
			return errors.New("the ingress takes connections before it knows where to")
		}
		return errors.Join(s.notReady(ctx, "ingress", ""), s.notReady(ctx, "egress", ""))
	})
}

func (s *site) testPilotFirst(t *testing.T) {
	s.natsFiles(t)
	check(t, s.StartProcess(t.Context(), "pilot"))
	eventually(t, backLimit, func(ctx context.Context) error { return s.notReady(ctx, "pilot", "bus") })
	always(t, 2*time.Second, func(ctx context.Context) error {
		return errors.Join(s.notReady(ctx, "pilot", "bus"), s.notReady(ctx, "ingress", ""))
	})
	check(t, s.StartProcess(t.Context(), "nats"))
	// The first request after ready is answered: ready means ready.
	eventually(t, time.Minute, func(context.Context) error { return s.Settled("nats", "pilot", "ingress") })
	state := must(s.Envoy("ingress").State(t.Context()))(t)
	if state != "LIVE" || !s.listening(t.Context()) {
		t.Errorf("ingress is ready, but its Envoy says %s, listening %v", state, s.listening(t.Context()))
	}
	var gateway struct {
		Ready    bool   `json:"ready"`
		Revision string `json:"acknowledgedRevision"`
	}
	check(t, s.Read(t.Context(), "ingress", "/v1/status", &gateway))
	if !gateway.Ready || gateway.Revision == "" || gateway.Revision == "0" {
		t.Errorf("ingress is ready, and says of itself %+v", gateway)
	}
	eventually(t, time.Minute, func(context.Context) error { return s.Settled() })
	s.url = must(s.IngressURL())(t)
	p := must(s.page(t.Context(), ""))(t)
	if p.NoDetails || p.NoReviews {
		t.Errorf("everything is ready, and the first page has holes: %s", p)
	}
	s.base = s.objects(t)
}

// testReadyRevision: when a proxy that was started says for the first time that it is
// ready, it has what pilot had when it connected, and a certificate.
func (s *site) testReadyRevision(t *testing.T) {
	s.applyLive(t, s.sample("route-rule-all-v1"))
	revision := s.revision(t)
	check(t, s.StopProcess(t.Context(), "ingress"))
	started := make(chan error, 1)
	go func() { started <- s.StartProcess(t.Context(), "ingress") }()
	eventually(t, backLimit, func(ctx context.Context) error {
		var gateway struct {
			Ready    bool   `json:"ready"`
			Revision uint64 `json:"acknowledgedRevision,string"`
			Waiting  string `json:"waitingFor"`
		}
		if err := s.Read(ctx, "ingress", "/v1/status", &gateway); err != nil {
			return err
		}
		if !gateway.Ready {
			return fmt.Errorf("waits for %s", gateway.Waiting)
		}
		if gateway.Revision < revision {
			t.Errorf("ingress is ready at revision %d, and pilot had %d when it connected", gateway.Revision, revision)
		}
		certificates, err := s.Envoy("ingress").Get(ctx, "/certs")
		if err == nil && !strings.Contains(certificates, mesh.AccountID("outrigger-system", "ingress")) {
			t.Errorf("ingress is ready, and its Envoy has no certificate of its own: %s", certificates)
		}
		return err
	})
	check(t, <-started)
	eventually(t, backLimit, func(context.Context) error { return s.Settled() })
}

func (s *site) testBusKilled(t *testing.T) {
	s.applyLive(t, s.sample("route-rule-all-v1"))
	s.applyLive(t, s.sample("route-rule-reviews-v2"))
	before := s.written(t)
	s.underLoad(t, func(t *testing.T) { s.killed(t, "nats") })
	eventually(t, backLimit, s.busBack)
	if diff := cmp.Diff(before, s.written(t)); diff != "" {
		t.Errorf("objects after the kill (-before +after):\n%s", diff)
	}
	s.changes(t)
}

// busBack is nil when pilot and its proxies are well.
func (s *site) busBack(ctx context.Context) error {
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	if !st.Bus.Connected || st.Bus.Refused != "" {
		return fmt.Errorf("the bus: %+v", st.Bus)
	}
	return errors.Join(s.Settled(), s.inForce(ctx))
}

func (s *site) testBusAway(t *testing.T) {
	s.underLoad(t, func(t *testing.T) {
		check(t, s.StopProcess(t.Context(), "nats"))
		eventually(t, backLimit, func(ctx context.Context) error {
			st, err := s.status(ctx)
			if err == nil && st.Bus.Connected {
				err = errors.New("pilot says that it is connected to a bus that is stopped")
			}
			return err
		})
		result := s.outrigger(t, "apply", "-f", s.sample("route-rule-reviews-v3"))
		if result.Code == 0 {
			t.Errorf("a change was accepted without a bus: %s", result)
		}
		check(t, result.Expect(result.Code, "bus"))
		always(t, time.Minute, func(ctx context.Context) error { return s.showsStars(ctx, "", "v2", 1) })
		check(t, s.StartProcess(t.Context(), "nats"))
		eventually(t, backLimit, s.busBack)
	})
	s.changes(t)
}

// busRefused is what pilot logs of a bus that is not the one it knows.
const busRefused = "bus refused; keeping the last known good"

func (s *site) testBusEmpty(t *testing.T) {
	s.applyLive(t, s.sample("mixer-rule-request-count")) // objects of more kinds
	before := s.written(t)
	logged := must(s.Log("pilot"))(t)
	store := filepath.Join(s.Dir, "nats", "store")
	s.underLoad(t, func(t *testing.T) {
		check(t, s.StopProcess(t.Context(), "nats"))
		check(t, os.Rename(store, store+".kept"))
		check(t, os.Mkdir(store, 0o700))
		check(t, os.Chown(store, natsUID(), natsUID()))
		check(t, s.StartProcess(t.Context(), "nats"))
		eventually(t, backLimit, func(ctx context.Context) error {
			st, err := s.status(ctx)
			if err == nil && st.Bus.Refused == "" {
				err = fmt.Errorf("an empty bus is not refused: %+v", st.Bus)
			}
			return err
		})
		always(t, 3*time.Second, func(ctx context.Context) error { return s.showsStars(ctx, "", "v2", 1) })
		if news := strings.TrimPrefix(must(s.Log("pilot"))(t), logged); !strings.Contains(news, busRefused) {
			t.Errorf("pilot does not log %q when the bus has come back empty: %s", busRefused, news)
		}
		result := s.outrigger(t, "apply", "-f", s.sample("route-rule-reviews-v3"))
		if result.Code == 0 {
			t.Errorf("a change was accepted by an empty bus: %s", result)
		}
		if diff := cmp.Diff(before, s.written(t)); diff != "" {
			t.Errorf("the world changed (-before +after):\n%s", diff)
		}
		answer := must(s.REST(t.Context(), "pilot", http.MethodPost, "/v1/bus:restore", map[string]any{}))(t)
		if answer.Status != http.StatusOK {
			t.Fatalf("restore the bus: status %d: %s", answer.Status, answer.Body)
		}
		eventually(t, backLimit, s.busBack)
	})
	if diff := cmp.Diff(unnumbered(before), unnumbered(s.written(t))); diff != "" {
		t.Errorf("what was restored (-before +after):\n%s", diff)
	}
	s.changes(t)
	check(t, s.StopProcess(t.Context(), "nats"))
}

// unnumbered are the objects without their revisions: what is restored is written anew.
func unnumbered(objects map[string]object) map[string]object {
	plain := map[string]object{}
	for key, o := range objects {
		o.Metadata.Revision = ""
		plain[key] = o
	}
	return plain
}
