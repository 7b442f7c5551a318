package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake/intaketest"
)

const good = `apiVersion: outrigger.dev/v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, number: 9080, protocol: HTTP}], selector: {app: reviews}}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: all}
spec: {destination: {name: reviews}, route: [{labels: {version: v9}}]}
---
apiVersion: config.istio.io/v1alpha2
kind: denier
metadata: {name: no}
spec: {status: {code: 7}}
`

func apply(s *Server, name, text string) (*pilotv1.ApplyResponse, error) {
	return s.Apply(context.Background(), &pilotv1.ApplyRequest{Documents: []*pilotv1.Document{{Name: name, Content: []byte(text)}}})
}

// outcome is the code, the text and the details that a caller gets.
func outcome(err error) string {
	st := rpc.Status(err)
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", st.Code(), st.Message())
	for _, d := range st.Details() {
		for _, p := range d.(*pilotv1.Problems).GetProblems() {
			fmt.Fprintf(&b, "\n%s:%d:%d: %s: %s: %s", p.File, p.Line, p.Column, p.Object, p.Field, p.Message)
		}
	}
	return b.String()
}

func open(t *testing.T) *Server { return NewServer(intaketest.Open(t), nil) }

func TestApplyGetListDelete(t *testing.T) {
	s, ctx := open(t), context.Background()
	r, err := apply(s, "good.yaml", good)
	if err != nil {
		t.Fatal(outcome(err))
	}
	if len(r.Applied) != 3 || len(r.Warnings) != 1 || r.Revision == 0 {
		t.Errorf("apply: got %v", r)
	}
	again, err := apply(s, "good.yaml", good)
	if err != nil || again.Revision != r.Revision {
		t.Errorf("the same again: got %v (%v), want revision %d", again, err, r.Revision)
	}
	got, err := s.Get(ctx, &pilotv1.GetRequest{Kind: "denier", Name: "no"})
	if err != nil {
		t.Fatal(outcome(err))
	}
	want := fmt.Sprintf("# written in config.istio.io/v1alpha2\napiVersion: outrigger.dev/v1\nkind: Handler\nmetadata:\n  name: no.denier\n  namespace: default\n  revision: %d\n"+
		"spec:\n  adapter: denier\n  params:\n    status:\n      code: 7\n", r.Revision)
	if d := cmp.Diff(want, got.GetDocument()); d != "" {
		t.Errorf("get (-want +got):\n%s", d)
	}
	if back, err := apply(s, "back", got.GetDocument()); err != nil || back.Applied[0].Action != pilotv1.Applied_UNCHANGED {
		t.Errorf("apply what get gave: %v (%v)", back, err)
	}
	for query, want := range map[*pilotv1.ListRequest]string{
		{}:                                      "Handler no.denier, RouteRule all, Service reviews",
		{Kind: "routerules"}:                    "RouteRule all",
		{Kind: "deniers", Namespace: "default"}: "Handler no.denier",
		{Kind: "listchecker"}:                   "",
		{Kind: "Service", Namespace: "elsewhere"}: "",
	} {
		l, err := s.List(ctx, query)
		if err != nil {
			t.Fatal(outcome(err))
		}
		var names []string
		for _, o := range l.GetObjects() {
			names = append(names, o.GetKind()+" "+o.GetMetadata().GetName())
		}
		if got := strings.Join(names, ", "); got != want {
			t.Errorf("list %v: got %q, want %q", query, got, want)
		}
	}
	refs := []*configv1.ObjectRef{{Kind: "Service", Name: "reviews"}, {Kind: "RouteRule", Name: "all"}, {Kind: "Handler", Name: "no.denier"}}
	del, err := s.Delete(ctx, &pilotv1.DeleteRequest{Refs: refs})
	if err != nil || len(del.GetDeleted()) != 3 {
		t.Errorf("delete: %v (%v)", del, err)
	}
}

func TestRefusals(t *testing.T) {
	s, ctx := open(t), context.Background()
	if _, err := apply(s, "good.yaml", good); err != nil {
		t.Fatal(err)
	}
	call := func(r any) error {
		var err error
		switch r := r.(type) {
		case string:
			_, err = apply(s, "f.yaml", r)
		case *pilotv1.ApplyRequest:
			_, err = s.Apply(ctx, r)
		case *pilotv1.GetRequest:
			_, err = s.Get(ctx, r)
		case *pilotv1.ListRequest:
			_, err = s.List(ctx, r)
		case *pilotv1.DeleteRequest:
			_, err = s.Delete(ctx, r)
		}
		return err
	}
	for name, c := range map[string]struct {
		in   any
		want string
	}{
		"unknown field": {strings.Replace(good, "route:", "ruote:", 1), codes.InvalidArgument.String() + ": RouteRule default/all: spec.ruote: unknown field; did you mean route?\n" +
			"f.yaml:9:38: RouteRule default/all: spec.ruote: unknown field; did you mean route?"},
		"nothing":        {"# empty", "InvalidArgument: there are no objects in this file\nf.yaml:0:0: : : there are no objects in this file"},
		"no documents":   {&pilotv1.ApplyRequest{}, "InvalidArgument: there are no documents in what was sent"},
		"old revision":   {strings.Replace(good, "name: all", "name: all, revision: 99", 1), "Aborted: RouteRule default/all: metadata.revision: based on revision 99; the object is at revision 3: get it and change that\nf.yaml:8:33: RouteRule default/all: metadata.revision: based on revision 99; the object is at revision 3: get it and change that"},
		"too large":      {strings.Repeat("#", 10<<20), "InvalidArgument: the file has 10.0 MiB; at most 4.0 MiB are taken, which end on this line: split it before\nf.yaml:1:0: : : the file has 10.0 MiB; at most 4.0 MiB are taken, which end on this line: split it before"},
		"get unknown":    {&pilotv1.GetRequest{Kind: "Rule", Name: "x"}, "NotFound: Rule default/x does not exist"},
		"get no name":    {&pilotv1.GetRequest{Kind: "Rule"}, "InvalidArgument: want a kind and a name"},
		"list unknown":   {&pilotv1.ListRequest{Kind: "pods"}, `InvalidArgument: unknown kind "pods"; there are ` + strings.Join(decode.Kinds(), ", ")},
		"delete used":    {&pilotv1.DeleteRequest{Kind: "Service", Name: "reviews"}, "FailedPrecondition: Service default/reviews: is used by RouteRule default/all; delete or change that first\n:0:0: Service default/reviews: : is used by RouteRule default/all; delete or change that first"},
		"delete unknown": {&pilotv1.DeleteRequest{Kind: "Service", Name: "x"}, "NotFound: Service default/x: does not exist\n:0:0: Service default/x: : does not exist"},
		"delete nothing": {&pilotv1.DeleteRequest{}, "InvalidArgument: nothing is named that shall be deleted"},
	} {
		if d := cmp.Diff(c.want, outcome(call(c.in))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
