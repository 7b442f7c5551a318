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

// snake rewrites the keys of a document that Istio spelt in two ways.
var snake = strings.NewReplacer("httpFault", "http_fault", "fixedDelay", "fixed_delay",
	"httpReqTimeout", "http_req_timeout", "simpleTimeout", "simple_timeout", "outputAsJson", "output_as_json")

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
		if other := snake.Replace(text); other != text {
			revision := s.revision(t)
			s.apply(t, write(t, "snake-"+name, other))
			if now := s.revision(t); now != revision {
				t.Errorf("%s: the other spelling of keys changed the object", name)
			}
		}
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
	if !p.NoDetails || p.Took < 700*time.Millisecond || p.Took > 2*time.Second {
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
