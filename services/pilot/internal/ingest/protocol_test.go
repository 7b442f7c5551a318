package ingest

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// A registration can bring two services to disagree, which nobody judged: what they say can
// be written again, as it was when it was accepted.
func TestWhatWasAcceptedCanBeWrittenAgain(t *testing.T) {
	const services = `apiVersion: outrigger.dev/v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, number: 9080, protocol: HTTP}], selector: {app: web}}
---
apiVersion: outrigger.dev/v1
kind: Service
metadata: {name: raw}
spec: {ports: [{name: tcp, number: 9080, protocol: TCP}], selector: {tier: x}}
`
	const workload = `---
apiVersion: outrigger.dev/v1
kind: Workload
metadata: {name: both-1}
spec: {address: 10.0.0.1, account: a, labels: {app: web, tier: x}}
`
	view := View{}
	for _, d := range decoded(t, "there.yaml", []byte(services+workload)) {
		view[model.RefOf(d.Object)] = Entry{Object: d.Object}
	}
	plan, refusal := Check(settings, view, Input{Documents: decoded(t, "again.yaml", []byte(services))})
	if refusal != nil {
		t.Fatalf("the same again: %v", refusal)
	}
	if len(plan.Warnings) != 2 || !strings.Contains(plan.Warnings[0].GetMessage(), "says otherwise of port 9080") {
		t.Errorf("warnings %v, want one of each service", plan.Warnings)
	}
	other := strings.Replace(services, "name: tcp, number: 9080", "name: other, number: 9080", 1)
	if _, refusal := Check(settings, view, Input{Documents: decoded(t, "other.yaml", []byte(other))}); refusal == nil || len(refusal.Problems) != 1 {
		t.Errorf("with a change: %v, want a refusal of that one", refusal)
	}
}
