package ingest

import (
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// TestAgentsWorkload: what an agent registered comes back as it was shown and changes
// nothing; the same from an operator is refused.
func TestAgentsWorkload(t *testing.T) {
	const text = "apiVersion: outrigger.dev/v1\nkind: Workload\nmetadata: {name: a}\n" +
		"spec:\n  address: 10.77.1.1\n  locality: {zone: a}\n  lease: 30s\n"
	docs := decoded(t, "a.yaml", []byte(text))
	registered := decoded(t, "a.yaml", []byte(text))[0].Object
	for origin, want := range map[string]string{
		"registry:agent": "",
		"api":            "Workload default/a: spec.locality: not supported yet (and 1 more)",
	} {
		registered.Metadata.Origin = origin
		view := View{model.RefOf(registered): {Object: registered, Seq: 1}}
		_, refusal := Check(settings, view, Input{Documents: docs, Origin: "api"})
		if got := said(refusal); got != want {
			t.Errorf("origin %s: got %q, want %q", origin, got, want)
		}
	}
	changed := decoded(t, "a.yaml", []byte(strings.Replace(text, "30s", "31s", 1)))
	registered.Metadata.Origin = "registry:agent"
	view := View{model.RefOf(registered): {Object: registered, Seq: 1}}
	_, refusal := Check(settings, view, Input{Documents: changed, Origin: "api"})
	if want := "Workload default/a: metadata.name: comes from registry:agent; it is changed there"; said(refusal) != want {
		t.Errorf("changed: got %q, want %q", said(refusal), want)
	}
}

// said is what a refusal says, nothing if there is none.
func said(r *Refusal) string {
	if r == nil {
		return ""
	}
	return r.Error()
}
