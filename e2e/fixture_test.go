package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
	"github.com/outrigger-mesh/outrigger/e2e/otlp"
)

// running holds the meshes that tests share.
var running = &pool{sites: map[string]*site{}}

func TestMain(m *testing.M) {
	if was, err := mesh.ServeDoor(); was {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if err := running.close(); err != nil {
		fmt.Fprintln(os.Stderr, "at the end:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// site is a running mesh with what stands beside it.
type site struct {
	*mesh.Mesh
	root  mesh.Root
	url   string // of the ingress
	spans *otlp.Receiver
	// base are the objects that were there when the mesh had come up.
	base map[string]object
	// spoilt is set when a test that used it failed: the next one gets a new mesh.
	spoilt bool
}

// pool keeps meshes by name.
type pool struct {
	mu    sync.Mutex
	sites map[string]*site
}

// logTail is how many lines of each log a failed test shows.
const logTail = 25

// get returns the mesh of a name as it was started, starting it if need be.
func (p *pool) get(t *testing.T, name string, change func(*mesh.FleetFile)) *site {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sites[name]
	if s != nil && (s.spoilt || !s.Running()) {
		delete(p.sites, name)
		if err := s.end(); err != nil {
			t.Logf("the mesh %q of earlier tests: %v", name, err)
		}
		s = nil
	}
	if s == nil {
		s = newSite(t, mesh.Config{Fleet: change})
		s.spoilt = true // if it does not start
		p.sites[name] = s
		s.start(t)
		s.spoilt = false
	}
	t.Cleanup(func() { s.look(t) })
	s.reset(t)
	return s
}

// only ends all shared meshes but one: this machine is small.
func (p *pool) only(t *testing.T, name string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for other, s := range p.sites {
		if other == name {
			continue
		}
		delete(p.sites, other)
		if err := s.end(); err != nil {
			t.Logf("the mesh %q of earlier tests: %v", other, err)
		}
	}
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first error
	for name, s := range p.sites {
		if err := s.end(); err != nil && first == nil {
			first = fmt.Errorf("mesh %q: %w", name, err)
		}
	}
	return first
}

// commonName is the mesh that most tests share.
const commonName = "common"

// common returns the mesh that harmless tests share.
func common(t *testing.T) *site {
	t.Helper()
	running.only(t, commonName)
	return running.get(t, commonName, func(f *mesh.FleetFile) {
		addOutside(f)
		f.Flags("pilot", "--folders="+watchedFolder(f.Dir))
	})
}

// sturdy returns the mesh that tests share which kill parts of it and see them come
// back.
func sturdy(t *testing.T) *site {
	t.Helper()
	running.only(t, "sturdy")
	return running.get(t, "sturdy", nil)
}

// own starts a mesh for one test.
func own(t *testing.T, cfg mesh.Config) *site {
	t.Helper()
	s := prepared(t, cfg)
	s.start(t)
	return s
}

// prepared is a mesh for one test that is not started yet.
func prepared(t *testing.T, cfg mesh.Config) *site {
	t.Helper()
	running.only(t, "")
	s := newSite(t, cfg)
	t.Cleanup(func() {
		s.look(t)
		if err := s.end(); err != nil {
			t.Errorf("end of the mesh: %v", err)
		}
	})
	return s
}

// newSite prepares a mesh with a collector of traces, and starts nothing.
func newSite(t *testing.T, cfg mesh.Config) *site {
	t.Helper()
	root, err := mesh.FindRoot()
	check(t, err)
	cfg.Root = root
	s := &site{root: root}
	before := cfg.Before
	cfg.Before = func(m *mesh.Mesh) error {
		if before != nil {
			if err := before(m); err != nil {
				return err
			}
		}
		return s.collect(m)
	}
	change := cfg.Fleet
	cfg.Fleet = func(f *mesh.FleetFile) {
		f.Reach(collector, collectorSocket)
		if change != nil {
			change(f)
		}
	}
	s.Mesh, err = mesh.New(cfg)
	check(t, err)
	return s
}

// Where processes of the fleet send their spans, and the socket behind it.
const (
	collector       = "10.77.0.1:4317"
	collectorSocket = "otlp.sock"
)

// traced makes every part of a fleet send its spans to the collector.
func traced(f *mesh.FleetFile) {
	f.Flags("pilot", "--mesh.traces=true")
	for _, service := range []string{"pilot", "mixer", "citadel-ca", "ingress", "egress"} {
		f.Flags(service, "--telemetry.otlp="+collector)
	}
	for _, gateway := range []string{"ingress", "egress"} {
		f.Flags(gateway, "--envoy.otlp="+collector)
	}
	f.Sidecar(func(sidecar map[string]any) {
		args, _ := sidecar["args"].([]any)
		sidecar["args"] = append(append([]any{}, args...), "--otlp="+collector)
	})
}

func (s *site) collect(m *mesh.Mesh) (err error) {
	if s.spans != nil {
		return nil
	}
	folder := watchedFolder(m.Dir)
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.Chmod(folder, 0o755)); err != nil {
		return err
	}
	s.spans, err = otlp.Listen(filepath.Join(m.State, "run", collectorSocket))
	return err
}

// watchedFolder is the folder of documents that pilot watches in the common mesh.
func watchedFolder(dir string) string { return filepath.Join(dir, "watched") }

// start starts the mesh and notes how it is.
func (s *site) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	check(t, s.Start(t.Context()))
	t.Logf("the mesh was ready after %.1fs", time.Since(began).Seconds())
	s.entered(t)
}

// entered notes what a mesh that has come up looks like.
func (s *site) entered(t *testing.T) {
	t.Helper()
	url, err := s.IngressURL()
	check(t, err)
	s.url = url
	s.base = s.objects(t)
}

// look shows the logs of a mesh in which a test failed.
func (s *site) look(t *testing.T) {
	if !t.Failed() {
		return
	}
	s.spoilt = true
	s.lookAtProxies(t)
	t.Logf("outrigger up printed:\n%s\nlogs:\n%s", s.Output(), s.Logs(logTail))
}

func (s *site) end() error {
	err := s.Remove()
	if s.spans != nil {
		err = errors.Join(err, s.spans.Close())
	}
	return err
}

// check ends a test at an error that is not what it is about.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must is check for calls that also return a value: must(call())(t).
func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return value
	}
}

// interval is the pause between two looks at something that is awaited.
const interval = 50 * time.Millisecond

// eventually tries until there is no error, and ends the test with the last one when
// that takes longer than within. It tries at least once.
func eventually(t *testing.T, within time.Duration, try func(ctx context.Context) error) {
	t.Helper()
	if err := await(t, within, try); err != nil {
		t.Fatalf("after %v: %v", within, err)
	}
}

// await is eventually for what may fail.
func await(t *testing.T, within time.Duration, try func(ctx context.Context) error) error {
	// What cleans up awaits things when the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), within)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // not what comes of the end of the time
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

// always tries over a time and ends the test at the first error.
func always(t *testing.T, during time.Duration, try func(ctx context.Context) error) {
	t.Helper()
	end := time.After(during)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		check(t, try(t.Context()))
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}
