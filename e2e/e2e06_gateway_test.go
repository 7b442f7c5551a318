package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// throughIngressOnly refuses the page to those who do not come by the gateway.
const throughIngressOnly = `apiVersion: outrigger.dev/v1
kind: Handler
metadata: {name: by-ingress, namespace: default}
spec: {adapter: denier, params: {status: {code: 7, message: by the gateway}}}
---
apiVersion: outrigger.dev/v1
kind: Instance
metadata: {name: by-ingress, namespace: default}
spec: {template: checknothing}
---
apiVersion: outrigger.dev/v1
kind: Rule
metadata: {name: by-ingress, namespace: default}
spec:
  match: destination.labels["app"] == "productpage" && source.labels["app"] == "ingress" && source.name == "ingress"
  actions: [{handler: by-ingress, instances: [by-ingress]}]
`

// testGateway: mixer knows a request that came through ingress as one of ingress, in
// what it counts and in what it decides.
func (s *site) testGateway(t *testing.T) {
	for _, name := range []string{"ingress", "egress"} {
		// A gateway is ready without its entry, which comes at the same time.
		eventually(t, acts, func(context.Context) error {
			w := s.registry(t)["Workload/outrigger-system/"+name].Workload
			if w == nil || w.Account != name || w.Labels["app"] != name {
				return fmt.Errorf("the registry has %+v for %s", w, name)
			}
			return nil
		})
	}
	s.applyLive(t, s.sample("mixer-rule-request-count"))
	labels := []string{
		`source_service="ingress.outrigger-system.svc.cluster.local"`, `source_version="unknown"`,
		`destination_service="productpage.default.svc.cluster.local"`, `response_code="200"`,
	}
	eventually(t, 15*time.Second, func(ctx context.Context) error {
		if err := first(s.page(ctx, "")); err != nil {
			return err
		}
		n, err := s.counted(ctx, "request_count", labels...)
		if err == nil && n < 1 {
			err = fmt.Errorf("no page is counted as one through ingress")
		}
		return err
	})
	s.applyLive(t, write(t, "by-ingress.yaml", throughIngressOnly))
	eventually(t, acts, func(ctx context.Context) error {
		answer, err := s.ask(ctx, "/productpage", "")
		if err != nil {
			return err
		}
		if answer.Status != http.StatusForbidden {
			return fmt.Errorf("the page through ingress: status %d, want %d", answer.Status, http.StatusForbidden)
		}
		return s.gets(ctx, t, "reviews-v2", http.StatusOK, "ratings")
	})
}
