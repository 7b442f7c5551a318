package intake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/bus"
	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	busv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/bus/v1"
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

// TestRegistry: what is registered counts, and is not ours to change.
func TestRegistry(t *testing.T) {
	b := intaketest.Open(t)
	ctx := context.Background()
	put := func(name, origin, address string) {
		t.Helper()
		o := batch(t, strings.ReplaceAll(service, "name: a}", "name: "+name+"}")).Documents[0].Object
		o.GetService().Address = address
		if _, err := b.Registry.Apply(ctx, []bus.Write{{Envelope: &busv1.Envelope{Object: o, Origin: origin}}}); err != nil {
			t.Fatal(err)
		}
		b.WaitForRegistry(t, o)
	}
	put("a", "registry:other", "10.78.0.1")
	if _, err := b.Submit(ctx, batch(t, route)); err != nil {
		t.Errorf("a route to a registered service: %v", err)
	}
	if _, err := b.Submit(ctx, batch(t, service)); err == nil || !strings.Contains(err.Error(), "comes from registry:other") {
		t.Errorf("writing a registered service: got %v", err)
	}
	copied := strings.ReplaceAll(service, "name: a}", "name: b}")
	if _, err := b.Submit(ctx, batch(t, copied)); err != nil {
		t.Fatal(err)
	}
	put("b", "registry:config", "10.78.0.2")
	if _, err := b.Submit(ctx, batch(t, strings.ReplaceAll(copied, "number: 80", "number: 81"))); err != nil {
		t.Errorf("a service of which the registry has a copy: %v", err)
	}
	taken := strings.NewReplacer("name: a}", "name: c}", "selector", "address: 10.78.0.2, selector").Replace(service)
	if _, err := b.Submit(ctx, batch(t, taken)); err == nil || !strings.Contains(err.Error(), "10.78.0.2 is the address of Service default/b") {
		t.Errorf("an address that was given away: got %v", err)
	}
	want := map[string]string{"Service default/a": "registry:other :80", "Service default/b": "api :81", "RouteRule default/r": "api"}
	if d := cmp.Diff(want, world(b)); d != "" {
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

// A batch has one revision, the number of its last write: a deletion of two objects as
// well as an application of two.
func TestABatchHasOneRevision(t *testing.T) {
	b := intaketest.Open(t)
	gone := intake.Batch{Input: ingest.Input{Origin: "api", Deletes: []model.Ref{
		{Kind: "RouteRule", Namespace: "default", Name: "r"}, {Kind: "Service", Namespace: "default", Name: "a"}}}, Writer: "tester"}
	before := uint64(0)
	for what, x := range []intake.Batch{batch(t, service+route), gone} {
		r, err := b.Submit(t.Context(), x)
		if err != nil {
			t.Fatalf("batch %d: %v", what, err)
		}
		if r.Revision != before+2 || r.Applied[0].GetRevision() != r.Revision || r.Applied[1].GetRevision() != r.Revision {
			t.Errorf("batch %d: got %v, want both at revision %d", what, r, before+2)
		}
		before = r.Revision
	}
}
