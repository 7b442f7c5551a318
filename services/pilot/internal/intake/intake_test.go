package intake_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake/intaketest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

const (
	service = "apiVersion: outrigger.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, number: 80, protocol: HTTP}], selector: {app: a}}\n"
	route   = "---\napiVersion: outrigger.dev/v1\nkind: RouteRule\nmetadata: {name: r}\nspec: {destination: {name: a}}\n"
	moved   = "---\napiVersion: outrigger.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, number: 81, protocol: HTTP}], selector: {app: a}}\n"
)

func batch(t *testing.T, text string) intake.Batch {
	t.Helper()
	docs, problems := decode.Documents("f", []byte(text), "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return intake.Batch{Input: ingest.Input{Documents: docs, Origin: "api"}, Writer: "tester"}
}

// world lists what is there: "Service default/a api @ revision".
func world(b *intaketest.Bus) map[string]string {
	out := map[string]string{}
	view, _, _ := b.View()
	for ref, e := range view {
		port := ""
		if s := e.Object.GetService(); s != nil {
			port = fmt.Sprint(" :", s.GetPorts()[0].GetNumber())
		}
		out[ref.String()] = e.Object.GetMetadata().GetOrigin() + port
	}
	return out
}

func TestSubmitIsSeenByTheNext(t *testing.T) {
	b := intaketest.Open(t)
	for i, text := range []string{service, route} {
		r, err := b.Submit(context.Background(), batch(t, text))
		if err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
		if len(r.Applied) != 1 || r.Applied[0].GetRevision() == 0 {
			t.Errorf("batch %d: got %v", i, r.Applied)
		}
	}
	want := map[string]string{"Service default/a": "api :80", "RouteRule default/r": "api"}
	if d := cmp.Diff(want, world(b)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	view, revision, _ := b.View()
	if got := view[model.Ref{Kind: "RouteRule", Namespace: "default", Name: "r"}].Object.GetMetadata().GetRevision(); got != revision || got == 0 {
		t.Errorf("the route has revision %d, the config %d", got, revision)
	}
}

func TestOneBatchIsOneRevision(t *testing.T) {
	b := intaketest.Open(t)
	r, err := b.Submit(context.Background(), batch(t, route+"---\n"+service))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range r.Applied {
		if a.GetRevision() != r.Revision || r.Revision == 0 {
			t.Errorf("%v: got revision %d, the batch has %d", a.GetRef(), a.GetRevision(), r.Revision)
		}
	}
	in := intake.Batch{Input: ingest.Input{Origin: "api", Deletes: []model.Ref{
		{Kind: "Service", Namespace: "default", Name: "a"}, {Kind: "RouteRule", Namespace: "default", Name: "r"}}}}
	if _, err := b.Submit(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{}, world(b)); d != "" {
		t.Errorf("after deleting both (-want +got):\n%s", d)
	}
}

// TestRefusedByTheBus: of a batch that the bus refuses nothing is there.
func TestRefusedByTheBus(t *testing.T) {
	b := intaketest.Open(t)
	lost := fault.Conflict.Errorf("somebody was faster")
	b.Config.Fail(lost)
	if _, err := b.Submit(context.Background(), batch(t, service+route)); !errors.Is(err, lost) {
		t.Fatalf("got %v, want %v", err, lost)
	}
	if d := cmp.Diff(map[string]string{}, world(b)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDryRunAndRefusalWriteNothing(t *testing.T) {
	b := intaketest.Open(t)
	dry := batch(t, service+route)
	dry.DryRun = true
	r, err := b.Submit(context.Background(), dry)
	if err != nil || len(r.Applied) != 2 || r.Applied[0].GetRevision() != 0 {
		t.Errorf("dry run: %v, %v", r, err)
	}
	_, err = b.Submit(context.Background(), batch(t, route))
	var refusal *ingest.Refusal
	if !errors.As(err, &refusal) || refusal.Kind != fault.Invalid {
		t.Errorf("a route to nowhere: got %v", err)
	}
	if d := cmp.Diff(map[string]string{}, world(b)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestBusAway(t *testing.T) {
	b := intaketest.Open(t)
	b.Server.Stop()
	_, err := b.Submit(context.Background(), batch(t, service))
	if got := fault.Of(err); got != fault.Unavailable {
		t.Errorf("got %v (%v), want %v", got, err, fault.Unavailable)
	}
}

func TestNothingBeforeTheFirstReading(t *testing.T) {
	k := intake.New(intake.Config{}, nil)
	if _, err := k.Submit(context.Background(), intake.Batch{}); fault.Of(err) != fault.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}
