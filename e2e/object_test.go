package e2e

import (
	"context"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// ref names an object, as pilot's API does.
type ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// object is as much of one as tests look at.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		Revision  string `json:"revision"` // numbers of 64 bits are text in JSON
		Origin    string `json:"origin"`
	} `json:"metadata"`
	APIVersion string         `json:"apiVersion"`
	RouteRule  map[string]any `json:"routeRule"`
	Rule       map[string]any `json:"rule"`
	Handler    map[string]any `json:"handler"`
	Instance   map[string]any `json:"instance"`
	Service    *struct {
		Address string `json:"address"`
	} `json:"service"`
	Workload *struct {
		Address string            `json:"address"`
		Account string            `json:"account"`
		Labels  map[string]string `json:"labels"`
	} `json:"workload"`
}

func (o object) ref() ref {
	return ref{Kind: o.Kind, Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
}

// key is kind/namespace/name.
func (o object) key() string { return o.Kind + "/" + o.Metadata.Namespace + "/" + o.Metadata.Name }

// objects reads everything that is configured or has registered itself.
func (s *site) objects(t *testing.T) map[string]object {
	t.Helper()
	var list struct {
		Objects []object `json:"objects"`
	}
	check(t, s.Read(t.Context(), "pilot", "/v1/objects", &list))
	found := map[string]object{}
	for _, o := range list.Objects {
		found[o.key()] = o
	}
	return found
}

// written are the objects that people wrote, by the API or in files, without those that
// registered themselves.
func (s *site) written(t *testing.T) map[string]object {
	t.Helper()
	found := s.objects(t)
	maps.DeleteFunc(found, func(_ string, o object) bool { return strings.HasPrefix(o.Metadata.Origin, "registry:") })
	return found
}

// registry reads every service and workload, from all sources.
func (s *site) registry(t *testing.T) map[string]object {
	t.Helper()
	var list struct {
		Objects []object `json:"objects"`
	}
	check(t, s.Read(t.Context(), "pilot", "/v1/registry", &list))
	found := map[string]object{}
	for _, o := range list.Objects {
		found[o.key()] = o
	}
	return found
}

// revision is the newest one of the configuration.
func (s *site) revision(t *testing.T) uint64 {
	t.Helper()
	var list struct {
		Revision string `json:"revision"`
	}
	check(t, s.Read(t.Context(), "pilot", "/v1/objects", &list))
	n, err := strconv.ParseUint(list.Revision, 10, 64)
	check(t, err)
	return n
}

// reset takes away what earlier tests have written.
func (s *site) reset(t *testing.T) {
	t.Helper()
	eventually(t, settleLimit, func(context.Context) error { return s.Settled() })
	extra := []ref{}
	for key, o := range s.objects(t) {
		if _, was := s.base[key]; !was && (o.Metadata.Origin == "api" || o.Metadata.Origin == "") {
			extra = append(extra, o.ref())
		}
	}
	if len(extra) > 0 {
		s.take(t, extra)
	}
	eventually(t, settleLimit, s.inForce)
}

// take deletes objects in one batch.
func (s *site) take(t *testing.T, extra []ref) {
	t.Helper()
	answer, err := s.REST(t.Context(), "pilot", http.MethodPost, "/v1/objects:delete", map[string]any{"refs": extra})
	check(t, err)
	if answer.Status != http.StatusOK {
		t.Fatalf("take away what earlier tests wrote: status %d: %s", answer.Status, answer.Body)
	}
}

// settleLimit is for a mesh to become quiet again between tests.
const settleLimit = 30 * time.Second

// outrigger calls the command line.
func (s *site) outrigger(t *testing.T, args ...string) mesh.Result {
	t.Helper()
	return must(s.Outrigger(t.Context(), args...))(t)
}

// expect calls the command line and ends the test if it does not end with a code and
// print the texts.
func (s *site) expect(t *testing.T, code int, texts []string, args ...string) mesh.Result {
	t.Helper()
	result := s.outrigger(t, args...)
	check(t, result.Expect(code, texts...))
	return result
}

// apply applies files, in one call, and expects success.
func (s *site) apply(t *testing.T, files ...string) mesh.Result {
	t.Helper()
	args := []string{"apply"}
	for _, file := range files {
		args = append(args, "-f", file)
	}
	return s.expect(t, 0, nil, args...)
}

// applyLive applies files and waits until they are in force everywhere.
func (s *site) applyLive(t *testing.T, files ...string) mesh.Result {
	t.Helper()
	args := []string{"apply", "--wait"}
	for _, file := range files {
		args = append(args, "-f", file)
	}
	return s.expect(t, 0, nil, args...)
}

// sample is a rule file of the sample application.
func (s *site) sample(name string) string { return s.root.Sample(name + ".yaml") }

// samples are several.
func (s *site) samples(names ...string) []string {
	var files []string
	for _, name := range names {
		files = append(files, s.sample(name))
	}
	return files
}

// write makes a file for one test and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}
