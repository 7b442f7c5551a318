package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// spellings are keys of Istio's documents as they are spelt with capitals and without.
var spellings = []string{
	"httpFault", "http_fault", "fixedDelay", "fixed_delay", "httpStatus", "http_status",
	"httpReqTimeout", "http_req_timeout", "simpleTimeout", "simple_timeout",
	"outputAsJson", "output_as_json", "severityLevels", "severity_levels", "logStream", "log_stream",
	"instanceName", "instance_name", "labelNames", "label_names", "valueType", "value_type",
	"validDuration", "valid_duration", "validUseCount", "valid_use_count", "entryType", "entry_type",
	"monitoredResourceType", "monitored_resource_type",
}

// spelt writes the keys of a document in both ways.
func spelt(text string) []string {
	var toSnake, toCamel []string
	for i := 0; i < len(spellings); i += 2 {
		camel, snake := spellings[i]+":", spellings[i+1]+":"
		toSnake, toCamel = append(toSnake, camel, snake), append(toCamel, snake, camel)
	}
	return []string{strings.NewReplacer(toSnake...).Replace(text), strings.NewReplacer(toCamel...).Replace(text)}
}

func (s *site) testIstio(t *testing.T) {
	files := must(filepath.Glob(s.root.Path("samples", "bookinfo", "istio", "*.yaml")))(t)
	if len(files) < 10 {
		t.Fatalf("the sample has only these files of Istio's: %v", files)
	}
	for _, file := range files {
		name := filepath.Base(file)
		s.apply(t, file)
		result := s.expect(t, 0, []string{"config.istio.io/v1alpha2"}, "get", "all", "-o", "yaml")
		if strings.Contains(name, "mixer") && !strings.Contains(result.Stdout, "kind: ") {
			t.Errorf("%s: get prints no objects: %s", name, result)
		}
		text := string(must(os.ReadFile(file))(t))
		s.sameSpelt(t, name, text)
		s.expect(t, 0, nil, "delete", "-f", file)
	}
	broken := `apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: broken, namespace: default}
spec:
  match: destination.service == "a" &&& request.size
  actions: [{handler: h.denier, instances: [i.checknothing]}]
`
	result := s.outrigger(t, "apply", "-f", write(t, "broken.yaml", broken))
	if result.Code == 0 {
		t.Errorf("a broken expression was accepted: %s", result)
	}
	check(t, result.Expect(result.Code, "broken.yaml", ":5:", "spec.match"))
}

// sameSpelt expects that an object that was applied is the same with its keys spelt in
// the one way and in the other.
func (s *site) sameSpelt(t *testing.T, name, text string) {
	t.Helper()
	revision := s.revision(t)
	for _, other := range spelt(text) {
		s.apply(t, write(t, name, other))
		if now := s.revision(t); now != revision {
			t.Errorf("%s: another spelling of keys changed an object:\n%s", name, other)
		}
	}
}

// istioRest has the kinds of Istio that no file of the sample has, and keys that none has.
const istioRest = `apiVersion: config.istio.io/v1alpha2
kind: attributemanifest
metadata: {name: e2e, namespace: default}
spec:
  attributes:
    e2e.size: {value_type: INT64}
---
apiVersion: config.istio.io/v1alpha2
kind: noop
metadata: {name: quiet, namespace: default}
spec: {}
---
apiVersion: config.istio.io/v1alpha2
kind: reportnothing
metadata: {name: seen, namespace: default}
spec: {}
---
apiVersion: config.istio.io/v1alpha2
kind: checknothing
metadata: {name: asked, namespace: default}
spec: {}
---
apiVersion: config.istio.io/v1alpha2
kind: denier
metadata: {name: never, namespace: default}
spec:
  status: {code: 7, message: never}
  validDuration: 3s
  valid_use_count: 7
---
apiVersion: config.istio.io/v1alpha2
kind: listchecker
metadata: {name: never, namespace: default}
spec:
  overrides: [v1]
  entryType: REGEX
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: quiet, namespace: default}
spec:
  match: destination.labels["app"] == "productpage" && (e2e.size | 0) == 0
  actions:
  - handler: quiet.noop
    instances: [seen.reportnothing, asked.checknothing]
`

// testIstioRest: what Istio's noop is given reaches it, by an attribute that only the
// manifest makes known.
func (s *site) testIstioRest(t *testing.T) {
	manifest, rest, _ := strings.Cut(istioRest, "---\n")
	if result := s.outrigger(t, "apply", "-f", write(t, "rest.yaml", rest)); result.Code == 0 || !strings.Contains(result.Stderr, "e2e.size") {
		t.Errorf("without the manifest e2e.size is not refused: %s", result)
	}
	file := write(t, "rest.yaml", manifest+"---\n"+rest)
	s.applyLive(t, file)
	for kind, name := range map[string]string{
		"attributemanifest": "e2e", "noop": "quiet", "reportnothing": "seen", "checknothing": "asked", "denier": "never", "listchecker": "never",
	} {
		s.expect(t, 0, []string{"config.istio.io/v1alpha2", "name: " + name}, "get", kind, name, "-o", "yaml")
	}
	s.sameSpelt(t, "rest.yaml", istioRest)
	eventually(t, acts, func(ctx context.Context) error {
		if err := first(s.page(ctx, "")); err != nil {
			return err
		}
		var st struct {
			Handlers []struct{ Name, Adapter, Calls, Errors string }
		}
		if err := s.Read(ctx, "mixer", "/v1/status", &st); err != nil {
			return err
		}
		for _, h := range st.Handlers {
			if h.Adapter == "noop" && h.Calls != "" && h.Errors == "" {
				return nil
			}
		}
		return fmt.Errorf("mixer should have called a noop: %+v", st.Handlers)
	})
	s.expect(t, 0, nil, "delete", "-f", file)
}

// notYet are fields of RouteRule that nothing acts on.
var notYet = map[string]string{
	"spec.mirror":           "mirror: {name: details}",
	"spec.redirect":         "redirect: {uri: /elsewhere}",
	"spec.rewrite":          "rewrite: {uri: /elsewhere}",
	"spec.websocketUpgrade": "websocketUpgrade: true",
	"spec.httpReqRetries":   "httpReqRetries: {simpleRetry: {attempts: 3}}",
	"spec.l4Fault":          "l4Fault: {terminate: {percent: 10}}",
	"spec.corsPolicy":       "corsPolicy: {allowOrigin: [example.com]}",
	"spec.appendHeaders":    "appendHeaders: {x-more: yes}",
}

func (s *site) testNotYet(t *testing.T) {
	for _, version := range []string{"outrigger.dev/v1", "config.istio.io/v1alpha2"} {
		for field, text := range notYet {
			rule := strings.Replace(testRule("not-yet"), "outrigger.dev/v1", version, 1) + "  " + text + "\n"
			result := s.outrigger(t, "apply", "-f", write(t, "not-yet.yaml", rule))
			if result.Code == 0 {
				t.Errorf("%s of %s was accepted though nothing acts on it", field, version)
				continue
			}
			if err := result.Expect(result.Code, "not-yet.yaml", field, "not supported yet"); err != nil {
				t.Error(err)
			}
		}
		for kind, spec := range map[string]string{
			"EgressRule":        "{destination: {service: example.com}, ports: [{port: 80, protocol: http}]}",
			"DestinationPolicy": "{destination: {name: reviews}, loadBalancing: {name: RANDOM}}",
		} {
			text := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: later, namespace: default}\nspec: %s\n", version, kind, spec)
			result := s.outrigger(t, "apply", "-f", write(t, "later.yaml", text))
			if result.Code == 0 {
				t.Errorf("%s of %s was accepted though nothing acts on it", kind, version)
				continue
			}
			if err := result.Expect(result.Code, "later.yaml", kind, "not supported yet"); err != nil {
				t.Error(err)
			}
		}
	}
}

func (s *site) testHeaderMatch(t *testing.T) {
	rules := `apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: by-prefix, namespace: default}
spec:
  destination: {name: productpage}
  precedence: 7
  match: {request: {headers: {x-e2e: {prefix: pre-}}}}
  httpFault: {abort: {percent: 100, httpStatus: 418}}
---
apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: by-uri, namespace: default}
spec:
  destination: {name: productpage}
  precedence: 6
  match: {request: {headers: {uri: {prefix: /api/v1/products/0/ratings}, x-e2e: {exact: uri}}}}
  httpFault: {abort: {percent: 100, httpStatus: 410}}
`
	file := write(t, "match.yaml", rules)
	s.applyLive(t, file)
	defer s.expect(t, 0, nil, "delete", "-f", file)
	for _, c := range []struct {
		path, header string
		want         int
	}{
		{"/productpage", "", 200}, {"/productpage", "pre-1", 418}, {"/productpage", "xpre-1", 200},
		{"/productpage", "uri", 200}, {"/api/v1/products/0/ratings", "uri", 410}, {"/api/v1/products/0/ratings", "", 200},
	} {
		request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+c.path, nil))(t)
		if c.header != "" {
			request.Header.Set("x-e2e", c.header)
		}
		answer := must(mesh.Do(browser, request))(t)
		if answer.Status != c.want {
			t.Errorf("%s with x-e2e %q: status %d, want %d: %s", c.path, c.header, answer.Status, c.want, answer.Body)
		}
	}
}

func (s *site) testFaults(t *testing.T) {
	rules := `apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: slow-details, namespace: default}
spec:
  destination: {name: details}
  precedence: 5
  httpFault:
    delay: {percent: 100, fixedDelay: 700ms}
    abort: {percent: 100, httpStatus: 503}
`
	file := write(t, "fault.yaml", rules)
	s.applyLive(t, file)
	p := must(s.page(t.Context(), ""))(t)
	// Envoy's timers run in milliseconds from when its loop woke, a little before.
	const least = 700*time.Millisecond - 5*time.Millisecond
	if !p.NoDetails || p.Took < least || p.Took > 2*time.Second {
		t.Errorf("details 700 ms late and then failing: got %s", p)
	}
	result := s.expect(t, 0, nil, "delete", "-f", file)
	seen(t, result, func(ctx context.Context) error {
		p, err := s.page(ctx, "")
		if err == nil && (p.NoDetails || p.Took > 500*time.Millisecond) {
			err = fmt.Errorf("the fault is still there: %s", p)
		}
		return err
	})
}
