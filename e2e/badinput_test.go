package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// TestBadInput: everything that cannot be taken is refused with file, line and field,
// nothing is half applied, and what was good before stays in force.
func TestBadInput(t *testing.T) {
	s := common(t)
	s.applyLive(t, s.samples("route-rule-all-v1", "route-rule-reviews-test-v2")...)
	noise := make([]byte, 4096)
	must(rand.Read(noise))(t)
	rule := testRule("bad")
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"unknown kind", strings.Replace(rule, "RouteRule", "RoutRule", 1), []string{":2:", "RoutRule", "RouteRule"}},
		{"unknown apiVersion", strings.Replace(rule, "dev/v1", "dev/v7", 1), []string{":1:", "outrigger.dev/v7"}},
		{"unknown field", rule + "  wieght: 3\n", []string{":10:", "spec.wieght"}},
		{"unknown field inside", strings.Replace(rule, "  - labels: {version: v1}", "  - {labels: {version: v1}, wieght: 3}", 1), []string{":9:", "spec.route[0].wieght"}},
		{"weights that do not add up", strings.Replace(rule, "  - labels: {version: v1}\n",
			"  - {labels: {version: v1}, weight: 50}\n  - {labels: {version: v2}, weight: 40}\n", 1), []string{":8:", "spec.route: ", "add up to 90", "100"}},
		{"a weight below nothing", strings.Replace(rule, "labels: {version: v1}", "{labels: {version: v1}, weight: -1}", 1), []string{":9:", "spec.route[0].weight"}},
		{"a route to nowhere", strings.Replace(rule, "name: details}", "name: nowhere}", 1), []string{":5:", "spec.destination", "nowhere"}},
		{"a rule without handler", "apiVersion: outrigger.dev/v1\nkind: Rule\nmetadata: {name: bad, namespace: default}\n" +
			"spec:\n  actions: [{handler: nobody, instances: [nothing]}]\n", []string{":5:", "spec.actions[0]", "nobody"}},
		{"an expression that is none", "apiVersion: outrigger.dev/v1\nkind: Rule\nmetadata: {name: bad, namespace: default}\n" +
			"spec:\n  match: destination.labels[\n  actions: [{handler: h, instances: [i]}]\n", []string{":5:", "spec.match"}},
		{"two objects with one name", rule + "---\n" + rule, []string{":13:", "twice", "bad"}},
		{"a key twice", rule + "  precedence: 4\n", []string{":10:", "spec.precedence", "twice", "line 6"}},
		{"text for a number", strings.Replace(rule, "precedence: 3", "precedence: many", 1), []string{":6:", "spec.precedence"}},
		{"an old revision", strings.Replace(rule, "{name: bad,", "{revision: 1, name: reviews-default,", 1), []string{":3:", "metadata.revision", "based on revision 1"}},
		{"no name", strings.Replace(rule, "name: bad, ", "", 1), []string{":3:", "metadata.name: missing"}},
		{"a name that cannot be one", strings.Replace(rule, "name: bad", "name: Bad_Name", 1), []string{":3:", "metadata.name", "Bad_Name"}},
		{"no YAML", "apiVersion: [outrigger.dev/v1\nkind: }\n", []string{":2:", "not YAML or JSON"}},
		{"binary rubbish", "kind: Rule\n\xff" + string(noise), []string{":2:1:", "not text"}},
		{"ten megabytes", rule + "# " + strings.Repeat("x", 10<<20) + "\n", []string{":10:", "10.0 MiB", "at most 4.0 MiB"}},
		{"a bomb of aliases", bomb(), []string{":1:", "a0: unknown field"}},
		{"text after JSON", "{\"apiVersion\": \"outrigger.dev/v1\",\n\"kind\": \"Rule\"}\ntrailing", []string{":3:1:", "after the end"}},
		{"no metadata", "apiVersion: outrigger.dev/v1\nkind: Rule\nspec: {}\n", []string{":2:", "metadata: missing"}},
		{"deeper", "spec: " + strings.Repeat("[", 20000), []string{":1:", "levels deep"}},
		{"a rule for TCP", "apiVersion: outrigger.dev/v1\nkind: Rule\nmetadata: {name: bad, namespace: default}\n" +
			"spec:\n  match: context.protocol == \"tcp\"\n  actions: [{handler: h, instances: [i]}]\n", []string{":5:", "spec.match", "not supported yet"}},
		{"a header in capitals", "apiVersion: outrigger.dev/v1\nkind: Rule\nmetadata: {name: bad, namespace: default}\n" +
			"spec:\n  match: request.headers[\"X-User\"] == \"a\"\n  actions: [{handler: h, instances: [i]}]\n", []string{":5:", "spec.match", "column 17", "x-user"}},
		{"less than one of a million", rule + "  httpFault: {abort: {percent: 0.00001, httpStatus: 500}}\n", []string{":10:", "spec.httpFault.abort.percent", "0.0001"}},
		{"a status", rule + "status: {ready: true}\n", []string{":10:", "status"}},
		{"what only agents say", "apiVersion: outrigger.dev/v1\nkind: Workload\nmetadata: {name: bad, namespace: default}\n" +
			"spec:\n  address: 10.77.9.9\n  lease: 30s\n  locality: {zone: a}\n", []string{":6:", "spec.lease", ":7:", "spec.locality: not supported yet"}},
		{"a monitored resource", "apiVersion: config.istio.io/v1alpha2\nkind: metric\nmetadata: {name: bad, namespace: default}\n" +
			"spec:\n  value: \"1\"\n  monitored_resource_type: '\"host\"'\n", []string{":6:", "spec.monitoredResourceType: not supported yet"}},
		{"very deep", "spec: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), []string{"bad.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) { s.refuses(t, c.text, c.want) })
	}
	t.Run("a broken file among good ones", s.testBrokenFile)
	t.Run("nothing", func(t *testing.T) {
		result := s.outrigger(t, "apply", "-f", write(t, "empty.yaml", "# nothing but this\n"))
		if result.Code == 0 {
			t.Error(result)
		}
		check(t, result.Expect(result.Code, "empty.yaml: there are no objects"))
	})
	t.Run("deletion of what has changed", s.testStaleDelete)
	t.Run("more or less than what REST takes", s.testWholeBodies)
	t.Run("no file", func(t *testing.T) {
		result := s.outrigger(t, "apply", "-f", "/no/such/file.yaml")
		if result.Code == 0 {
			t.Error(result)
		}
		check(t, result.Expect(result.Code, "/no/such/file.yaml"))
	})
	check(t, s.showsStars(t.Context(), "", "v1", inRow))
	check(t, s.showsStars(t.Context(), "jason", "v2", inRow))
}

// bomb is a document of a few lines that would be of millions of values.
func bomb() string {
	text := "a0: &a0 [x" + strings.Repeat(", x", 9) + "]\n"
	for i := range 9 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return text
}

// refuses expects that a document is not taken, for the reason that every text of want
// is in what is said, and that nothing changes.
func (s *site) refuses(t *testing.T, text string, want []string) {
	t.Helper()
	before := s.revision(t)
	result := s.outrigger(t, "apply", "-f", write(t, "bad.yaml", text))
	if result.Code == 0 {
		t.Fatalf("it was taken: %s", brief(result.String()))
	}
	for _, part := range append([]string{"bad.yaml"}, want...) {
		if !strings.Contains(result.Stderr, part) {
			t.Errorf("want %q in what is said: %s", part, brief(result.String()))
		}
	}
	if len(result.Stderr) > 64<<10 {
		t.Errorf("the refusal has %d bytes", len(result.Stderr))
	}
	if after := s.revision(t); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
}

// brief cuts a text to what a reader of a failure wants.
func brief(text string) string {
	const enough = 2000
	if len(text) > enough {
		return text[:enough] + " …"
	}
	return text
}

// testStaleDelete: deletions say what they are based on, as writes do.
func (s *site) testStaleDelete(t *testing.T) {
	before := s.revision(t)
	stale := write(t, "stale.yaml", strings.Replace(testRule("reviews-default"), "{name:", "{revision: 1, name:", 1))
	for _, result := range []mesh.Result{s.outrigger(t, "delete", "-f", stale), s.outrigger(t, "delete", "-o", "json", "-f", stale)} {
		if result.Code != 1 || !strings.Contains(result.Stdout+result.Stderr, "based on revision 1") {
			t.Errorf("it was not refused: %s", result)
		}
	}
	path := "/v1/objects/RouteRule/default/reviews-default?"
	for query, want := range map[string]int{"revision=1": 409, "revison=1": 400} {
		answer := must(s.REST(context.WithoutCancel(t.Context()), "pilot", "DELETE", path+query, nil))(t)
		if answer.Status != want {
			t.Errorf("%s: status %d, want %d: %s", query, answer.Status, want, answer.Body)
		}
	}
	if after := s.revision(t); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
	if result := s.outrigger(t, "wait", "routerule", "nowhere"); result.Code != 1 {
		t.Errorf("waited for nothing: %s", result)
	}
}

// testWholeBodies: nothing that is sent is left unread, and nothing acts without it.
func (s *site) testWholeBodies(t *testing.T) {
	before := s.revision(t)
	one := `{"documents":[{"name":"x.yaml","content":"` + base64.StdEncoding.EncodeToString([]byte(testRule("bad"))) + `"}]}`
	const object = "/v1/objects/RouteRule/default/reviews-default"
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/objects:apply", one + one, 400},
		{"POST", "/v1/objects:apply", one + " trailing", 400},
		{"POST", "/v1/objects:apply", one + `, "dryRun": true}`, 400},
		{"DELETE", object, `{"revision":"1"}`, 400},
		{"DELETE", object, "revision=1", 400},
		{"PATCH", object, "{}", 405},
	} {
		answer := must(s.REST(context.WithoutCancel(t.Context()), "pilot", c.method, c.path, []byte(c.body)))(t)
		if answer.Status != c.status {
			t.Errorf("%s %s with %s: status %d, want %d: %s", c.method, c.path, c.body, answer.Status, c.status, answer.Body)
		}
	}
	if after := s.revision(t); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
}

// testBrokenFile: the file, the line and the field that are wrong are named, and what
// lies beside the file is not taken either, whichever way it comes.
func (s *site) testBrokenFile(t *testing.T) {
	folder := t.TempDir()
	for i := range 3 {
		check(t, os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.yaml", i)), []byte(testRule(fmt.Sprintf("good-%d", i))), 0o644))
	}
	before := s.revision(t)
	for _, c := range []struct {
		text string
		line int
		want string // the field, or what is wrong with all of it
	}{
		{testRule("bad") + "  wieght: 3\n", 10, "spec.wieght"},
		{"kind: [\n", 1, "not YAML or JSON"},
	} {
		check(t, os.WriteFile(filepath.Join(folder, "1a.yaml"), []byte(c.text), 0o644))
		result := s.outrigger(t, "apply", "-f", folder)
		if result.Code == 0 {
			t.Errorf("it was taken: %s", result)
		}
		check(t, result.Expect(result.Code, fmt.Sprintf("1a.yaml:%d:", c.line), c.want))
		body := map[string]any{"documents": []any{
			map[string]any{"name": "good.yaml", "content": []byte(testRule("good"))}, map[string]any{"name": "x.yaml", "content": []byte(c.text)},
		}}
		answer := must(s.REST(context.WithoutCancel(t.Context()), "pilot", "POST", "/v1/objects:apply", body))(t)
		for _, want := range []string{`"file":"x.yaml"`, fmt.Sprintf(`"line":%d`, c.line), c.want} {
			// What writes the answer puts a space after a colon or not, at random.
			if text := strings.ReplaceAll(answer.Body, `": `, `":`); answer.Status != 400 || !strings.Contains(text, want) {
				t.Errorf("REST: want 400 with %s, got status %d: %s", want, answer.Status, answer.Body)
			}
		}
	}
	if after := s.revision(t); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
}
