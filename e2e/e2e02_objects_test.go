package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// TestE2E02Objects: apply, get and delete by the command line, by REST and by gRPC, all
// or nothing; both API groups; what does not act is refused by name.
func TestE2E02Objects(t *testing.T) {
	s := common(t)
	t.Run("command line", s.testCommandLine)
	t.Run("standard input and folders", s.testSources)
	t.Run("REST", s.testObjectsREST)
	t.Run("gRPC", s.testObjectsGRPC)
	t.Run("every kind", s.testKinds)
	t.Run("every kind by REST", s.testKindsREST)
	t.Run("every kind by gRPC", s.testKindsGRPC)
	t.Run("every kind in a folder", s.testKindsFolder)
	t.Run("all or nothing", s.testAllOrNothing)
	t.Run("more than a thousand", s.testTooMany)
	t.Run("as Istio wrote them", s.testIstio)
	t.Run("what else Istio wrote", s.testIstioRest)
	t.Run("what does not act yet", s.testNotYet)
	t.Run("watched folder", s.testFolder)
	t.Run("header match", s.testHeaderMatch)
	t.Run("abort and delay", s.testFaults)
}

func (s *site) testCommandLine(t *testing.T) {
	file := s.sample("route-rule-all-v1")
	s.expect(t, 0, []string{"reviews-default", "ratings-default", "details-default", "productpage-default"}, "apply", "-f", file)
	for _, kind := range []string{"RouteRule", "routerules", "routerule"} {
		s.expect(t, 0, []string{"reviews-default", "ratings-default"}, "get", kind)
	}
	out := s.expect(t, 0, []string{"kind: RouteRule", "name: reviews-default", "---"}, "get", "routerules", "-o", "yaml").Stdout
	// What get prints can be applied again and changes nothing.
	before := s.revision(t)
	s.expect(t, 0, nil, "apply", "-f", write(t, "again.yaml", out))
	if after := s.revision(t); after != before {
		t.Errorf("applying what get printed made revision %d of %d", after, before)
	}
	s.expect(t, 0, []string{"precedence: 1"}, "get", "RouteRule", "reviews-default", "-o", "yaml")
	s.expect(t, 0, nil, "delete", "RouteRule", "reviews-default")
	if result := s.outrigger(t, "get", "RouteRule", "reviews-default"); result.Code == 0 {
		t.Errorf("a deleted object can be got: %s", result)
	}
	s.expect(t, 0, nil, "apply", "-f", file)
	s.expect(t, 0, nil, "delete", "-f", file)
	if result := s.expect(t, 0, nil, "get", "routerules"); strings.Contains(result.Stdout, "-default") {
		t.Errorf("delete -f left rules: %s", result)
	}
	if result := s.outrigger(t, "delete", "RouteRule", "no-such-rule"); result.Code == 0 {
		t.Errorf("what is not there can be deleted: %s", result)
	}
}

func (s *site) testSources(t *testing.T) {
	text := must(os.ReadFile(s.sample("route-rule-reviews-v3")))(t)
	result := must(s.OutriggerInput(t.Context(), text, "apply", "-f", "-"))(t)
	check(t, result.Expect(0, "reviews-default"))
	folder := t.TempDir()
	for _, name := range []string{"route-rule-all-v1", "route-rule-reviews-test-v2", "route-rule-ratings-delay-2s"} {
		check(t, os.WriteFile(filepath.Join(folder, name+".yaml"), must(os.ReadFile(s.sample(name)))(t), 0o644))
	}
	s.apply(t, folder)
	revisions := map[string][]string{}
	for _, o := range s.objects(t) {
		if o.Kind == "RouteRule" {
			revisions[o.Metadata.Revision] = append(revisions[o.Metadata.Revision], o.Metadata.Name)
		}
	}
	if len(revisions) != 1 {
		t.Errorf("one apply, one revision: got %v", revisions)
	}
	s.expect(t, 0, nil, "delete", "-f", folder)
}

// testRule is a rule that takes effect on nothing that other tests look at.
func testRule(name string) string {
	return fmt.Sprintf(`apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: %s, namespace: default}
spec:
  destination: {name: details}
  precedence: 3
  match: {request: {headers: {x-e2e: {exact: %s}}}}
  route:
  - labels: {version: v1}
`, name, name)
}

func (s *site) testObjectsREST(t *testing.T) {
	document := map[string]any{"documents": []any{map[string]any{"name": "rest.yaml", "content": []byte(testRule("by-rest"))}}}
	call := func(method, path string, body any, status int) map[string]any {
		t.Helper()
		answer := must(s.REST(t.Context(), "pilot", method, path, body))(t)
		if answer.Status != status {
			t.Fatalf("%s %s: status %d, want %d: %s", method, path, answer.Status, status, answer.Body)
		}
		var doc map[string]any
		check(t, json.Unmarshal([]byte(answer.Body), &doc))
		return doc
	}
	applied := call(http.MethodPost, "/v1/objects:apply", document, http.StatusOK)
	got := call(http.MethodGet, "/v1/objects/RouteRule/default/by-rest", nil, http.StatusOK)
	object, _ := got["object"].(map[string]any)
	metadata, _ := object["metadata"].(map[string]any)
	if metadata["revision"] != applied["revision"] || metadata["origin"] != "api" {
		t.Errorf("applied at %v, got %v", applied["revision"], metadata)
	}
	if text, _ := got["document"].(string); !strings.Contains(text, "x-e2e") {
		t.Errorf("the document is %q", text)
	}
	call(http.MethodDelete, "/v1/objects/RouteRule/default/by-rest", nil, http.StatusOK)
	call(http.MethodGet, "/v1/objects/RouteRule/default/by-rest", nil, http.StatusNotFound)
}

func (s *site) testObjectsGRPC(t *testing.T) {
	conn := must(s.GRPC("pilot"))(t)
	defer conn.Close()
	client := pilotv1.NewConfigServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	apply := func(dry bool) *pilotv1.ApplyResponse {
		return must(client.Apply(ctx, &pilotv1.ApplyRequest{
			Documents: []*pilotv1.Document{{Name: "grpc.yaml", Content: []byte(testRule("by-grpc"))}}, DryRun: dry,
		}))(t)
	}
	get := &pilotv1.GetRequest{Kind: "RouteRule", Namespace: "default", Name: "by-grpc"}
	apply(true)
	if _, err := client.Get(ctx, get); grpcstatus.Code(err) != codes.NotFound {
		t.Errorf("after a dry run: got %v, want NotFound", err)
	}
	applied := apply(false)
	if len(applied.GetApplied()) != 1 || applied.GetApplied()[0].GetAction() != pilotv1.Applied_CREATED {
		t.Errorf("applied: %v, want one object created", applied)
	}
	found := must(client.Get(ctx, get))(t)
	if found.GetObject().GetRouteRule().GetPrecedence() != 3 {
		t.Errorf("got %v", found)
	}
	list := must(client.List(ctx, &pilotv1.ListRequest{Kind: "RouteRule"}))(t)
	if len(list.GetObjects()) != 1 {
		t.Errorf("listed %v, want the one rule", list)
	}
	stale := strings.Replace(testRule("by-grpc"), "namespace: default", fmt.Sprintf("namespace: default, revision: %d", applied.GetRevision()+1000), 1)
	_, err := client.Apply(ctx, &pilotv1.ApplyRequest{Documents: []*pilotv1.Document{{Name: "stale.yaml", Content: []byte(stale)}}})
	if grpcstatus.Code(err) != codes.Aborted {
		t.Errorf("a write based on another revision: got %v, want Aborted", err)
	}
	refs := []*configv1.ObjectRef{{Kind: "RouteRule", Namespace: "default", Name: "by-grpc"}}
	must(client.Delete(ctx, &pilotv1.DeleteRequest{Refs: refs}))(t)
	if _, err := client.Get(ctx, get); grpcstatus.Code(err) != codes.NotFound {
		t.Errorf("after it was deleted: got %v, want NotFound", err)
	}
}

// everyKind is one object of each kind, that work together.
const everyKind = `apiVersion: outrigger.dev/v1
kind: Service
metadata: {name: kinds, namespace: default}
spec:
  ports: [{name: http, number: 9080, protocol: HTTP}]
  selector: {app: kinds}
---
apiVersion: outrigger.dev/v1
kind: Workload
metadata: {name: kinds-v1, namespace: default}
spec:
  address: 10.77.1.250
  labels: {app: kinds, version: v1}
---
apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: kinds, namespace: default}
spec:
  destination: {name: kinds}
  route: [{labels: {version: v1}, weight: 100}]
---
apiVersion: outrigger.dev/v1
kind: Handler
metadata: {name: kinds, namespace: default}
spec: {adapter: noop}
---
apiVersion: outrigger.dev/v1
kind: Instance
metadata: {name: kinds, namespace: default}
spec: {template: reportnothing}
---
apiVersion: outrigger.dev/v1
kind: Rule
metadata: {name: kinds, namespace: default}
spec:
  match: destination.labels["app"] == "kinds"
  actions: [{handler: kinds, instances: [kinds]}]
`

func (s *site) testKinds(t *testing.T) {
	file := write(t, "kinds.yaml", everyKind)
	s.applyLive(t, file)
	for _, kind := range []string{"Service", "Workload", "RouteRule", "Handler", "Instance", "Rule"} {
		s.expect(t, 0, []string{"kinds"}, "get", kind)
	}
	service, found := s.registry(t)["Service/default/kinds"]
	if !found || service.Service == nil || !strings.HasPrefix(service.Service.Address, "10.78.") {
		t.Errorf("the service has no virtual address: %+v", service)
	}
	// Deleting in one call what refers to each other works in any order.
	s.expect(t, 0, nil, "delete", "-f", file)
	for key := range s.objects(t) {
		if strings.HasSuffix(key, "/kinds") || strings.HasSuffix(key, "/kinds-v1") {
			t.Errorf("%s is still there", key)
		}
	}
}

func (s *site) testAllOrNothing(t *testing.T) {
	folder := t.TempDir()
	for i := range 5 {
		name := fmt.Sprintf("good-%d", i)
		check(t, os.WriteFile(filepath.Join(folder, name+".yaml"), []byte(testRule(name)), 0o644))
	}
	bad := strings.Replace(testRule("bad"), "precedence: 3", "precedence: 3\n  presidence: 4", 1)
	check(t, os.WriteFile(filepath.Join(folder, "middle.yaml"), []byte(bad), 0o644))
	before, revision := s.objects(t), s.revision(t)
	result := s.outrigger(t, "apply", "-f", folder)
	if result.Code == 0 {
		t.Errorf("a folder with a broken file was accepted: %s", result)
	}
	check(t, result.Expect(result.Code, "middle.yaml", "presidence"))
	if after := s.objects(t); len(after) != len(before) || s.revision(t) != revision {
		t.Errorf("something was applied: %d objects became %d, revision %d became %d", len(before), len(after), revision, s.revision(t))
	}
}

func (s *site) testTooMany(t *testing.T) {
	var text strings.Builder
	for i := range 1001 {
		text.WriteString("---\n" + testRule(fmt.Sprintf("many-%d", i)))
	}
	revision := s.revision(t)
	result := s.outrigger(t, "apply", "-f", write(t, "many.yaml", text.String()))
	if result.Code == 0 || !strings.Contains(result.Stderr, "1001") && !strings.Contains(result.Stderr, "1,001") {
		t.Errorf("1,001 objects: want a refusal that says how many, got %s", result)
	}
	if now := s.revision(t); now != revision {
		t.Errorf("revision %d became %d", revision, now)
	}
	_, rest, _ := strings.Cut(strings.TrimPrefix(text.String(), "---\n"), "---\n")
	thousand := write(t, "thousand.yaml", rest)
	s.expect(t, 0, nil, "apply", "-f", thousand)
	s.expect(t, 0, nil, "delete", "-f", thousand)
}
