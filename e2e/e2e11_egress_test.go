package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/e2e/mesh"
)

// egressURL is where the egress gateway takes requests, in the hub.
const egressURL = "http://10.77.0.1:15080"

// TestE2E11Egress: egress runs, is ready, and carries one plain HTTP host.
func TestE2E11Egress(t *testing.T) {
	s := common(t)
	answer := must(s.Ops(t.Context(), "egress", "/readyz"))(t)
	if answer.Status != http.StatusOK {
		t.Fatalf("egress is not ready: %d %s", answer.Status, answer.Body)
	}
	if state := must(s.Envoy("egress").State(t.Context()))(t); state != "LIVE" {
		t.Errorf("its Envoy says %s, want LIVE", state)
	}
	outside := must(s.Host(outsideHost))(t)
	objects := fmt.Sprintf(`apiVersion: outrigger.dev/v1
kind: Service
metadata: {name: books, namespace: default}
spec:
  ports: [{name: http, number: %s, protocol: HTTP}]
  selector: {app: books}
  externalHosts: [books.example]
---
apiVersion: outrigger.dev/v1
kind: Workload
metadata: {name: books, namespace: default}
spec: {address: %s, labels: {app: books}}
`, outsidePort, outside.Address)
	file := write(t, "books.yaml", objects)
	s.applyLive(t, file)
	ask := func(ctx context.Context, host string) (mesh.Answer, error) {
		door := must(s.Door("reviews-v1"))(t) // any caller of the mesh
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, egressURL+"/details/0", nil)
		if err != nil {
			return mesh.Answer{}, err
		}
		request.Host = host
		return mesh.Do(door.Client(10*time.Second), request)
	}
	got := must(ask(t.Context(), "books.example"))(t)
	if got.Status != http.StatusOK || !strings.Contains(got.Body, `"podname":"`+outsideHost+`"`) {
		t.Errorf("books.example through egress: %d %s, want the answer of the machine outside", got.Status, got.Body)
	}
	got = must(ask(t.Context(), "other.example"))(t)
	if got.Status != http.StatusNotFound {
		t.Errorf("a host that nobody registered: status %d, want 404: %s", got.Status, got.Body)
	}
	s.expect(t, 0, nil, "delete", "-f", file)
	eventually(t, acts, func(ctx context.Context) error {
		got, err := ask(ctx, "books.example")
		if err == nil && got.Status != http.StatusNotFound {
			err = fmt.Errorf("after the service was deleted: status %d: %s", got.Status, got.Body)
		}
		return err
	})
}
