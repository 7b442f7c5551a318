package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// kindRefs are the objects of everyKind, in its order: each refers to earlier ones only.
var kindRefs = []ref{
	{"Service", "default", "kinds"}, {"Workload", "default", "kinds-v1"}, {"RouteRule", "default", "kinds"},
	{"Handler", "default", "kinds"}, {"Instance", "default", "kinds"}, {"Rule", "default", "kinds"},
}

// kindsAre is nil when all objects of everyKind are there with what they say and come
// from an origin, the service with an address; or, without an origin, when none is there.
func (s *site) kindsAre(t *testing.T, origin string) error {
	t.Helper()
	objects, registry := s.objects(t), s.registry(t)
	var wrong []error
	for _, r := range kindRefs {
		key := r.Kind + "/" + r.Namespace + "/" + r.Name
		o, found := objects[key]
		if found != (origin != "") || o.Metadata.Origin != origin || found && !says(o) {
			wrong = append(wrong, fmt.Errorf("%s: want one that comes from %q, got %+v", key, origin, o))
		}
	}
	service, known := registry["Service/default/kinds"]
	workload, lives := registry["Workload/default/kinds-v1"]
	if known != (origin != "") || lives != known || known && !strings.HasPrefix(service.Service.Address, "10.78.") {
		wrong = append(wrong, fmt.Errorf("the registry has %+v and %+v", service.Service, workload.Workload))
	}
	return errors.Join(wrong...)
}

// kindsBecome waits for kindsAre: the registry hears of what was taken a little later,
// and a folder is looked at now and then.
func (s *site) kindsBecome(t *testing.T, origin string) {
	t.Helper()
	eventually(t, folderLimit, func(context.Context) error { return s.kindsAre(t, origin) })
}

// says tells whether an object has the part of everyKind that only its kind has.
func says(o object) bool {
	switch o.Kind {
	case "RouteRule":
		return o.RouteRule["route"] != nil
	case "Rule":
		return o.Rule["match"] == `destination.labels["app"] == "kinds"`
	case "Handler":
		return o.Handler["adapter"] == "noop"
	case "Instance":
		return o.Instance["template"] == "reportnothing"
	case "Service":
		return o.Service != nil
	case "Workload":
		return o.Workload != nil && o.Workload.Address == "10.77.1.250" && o.Workload.Labels["version"] == "v1"
	}
	return false
}

func (s *site) testKindsREST(t *testing.T) {
	call := func(method, path string, body any, status int) {
		t.Helper()
		answer := must(s.REST(t.Context(), "pilot", method, path, body))(t)
		if answer.Status != status {
			t.Fatalf("%s %s: status %d, want %d: %s", method, path, answer.Status, status, answer.Body)
		}
	}
	document := map[string]any{"documents": []any{map[string]any{"name": "rest.yaml", "content": []byte(everyKind)}}}
	call(http.MethodPost, "/v1/objects:apply", document, http.StatusOK)
	s.kindsBecome(t, "api")
	for _, r := range slices.Backward(kindRefs) {
		path := "/v1/objects/" + r.Kind + "/" + r.Namespace + "/" + r.Name
		call(http.MethodGet, path, nil, http.StatusOK)
		call(http.MethodDelete, path, nil, http.StatusOK)
		call(http.MethodGet, path, nil, http.StatusNotFound)
	}
	s.kindsBecome(t, "")
}

func (s *site) testKindsGRPC(t *testing.T) {
	conn := must(s.GRPC("pilot"))(t)
	defer conn.Close()
	client := pilotv1.NewConfigServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	applied := must(client.Apply(ctx, &pilotv1.ApplyRequest{
		Documents: []*pilotv1.Document{{Name: "grpc.yaml", Content: []byte(everyKind)}},
	}))(t).GetApplied()
	if len(applied) != len(kindRefs) {
		t.Errorf("applied %v, want %v", applied, kindRefs)
	}
	for _, a := range applied {
		if a.GetAction() != pilotv1.Applied_CREATED {
			t.Errorf("%v: want it created", a)
		}
	}
	s.kindsBecome(t, "api")
	var refs []*configv1.ObjectRef
	for _, r := range kindRefs {
		refs = append(refs, &configv1.ObjectRef{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name})
		found := must(client.Get(ctx, &pilotv1.GetRequest{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}))(t)
		if found.GetObject().GetKind() != r.Kind || found.GetObject().GetSpec() == nil {
			t.Errorf("%v: got %v", r, found)
		}
	}
	must(client.Delete(ctx, &pilotv1.DeleteRequest{Refs: refs}))(t)
	for _, r := range kindRefs {
		if found, err := client.Get(ctx, &pilotv1.GetRequest{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}); grpcstatus.Code(err) != codes.NotFound {
			t.Errorf("%v after it was deleted: %v, %v, want NotFound", r, found, err)
		}
	}
	s.kindsBecome(t, "")
}

func (s *site) testKindsFolder(t *testing.T) {
	path := filepath.Join(watchedFolder(s.Dir), "kinds.yaml")
	t.Cleanup(func() {
		check(t, remove(path))
		eventually(t, folderLimit, func(ctx context.Context) error { return s.fromFiles(ctx, 0) })
	})
	put(t, path, everyKind)
	s.kindsBecome(t, "file:"+path)
	check(t, remove(path))
	s.kindsBecome(t, "")
}
