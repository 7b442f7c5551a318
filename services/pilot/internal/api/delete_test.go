package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

const twoRules = `apiVersion: outrigger.dev/v1
kind: RouteRule
metadata: {name: a, revision: %d}
spec: {destination: {name: reviews}}
---
apiVersion: outrigger.dev/v1
kind: RouteRule
metadata:
  name: b
  revision: %d
spec: {destination: {name: reviews}}
`

// TestDeleteBasedOnARevision: a deletion that is based on what is no longer so is refused
// as a write is, with its place, and nothing of its batch is deleted.
func TestDeleteBasedOnARevision(t *testing.T) {
	s, ctx := open(t), t.Context()
	for _, text := range []string{good, fmt.Sprintf(twoRules, 0, 0)} {
		if _, err := apply(s, "f.yaml", text); err != nil {
			t.Fatal(outcome(err))
		}
	}
	got, err := s.Get(ctx, &pilotv1.GetRequest{Kind: "RouteRule", Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	now := got.GetObject().GetMetadata().GetRevision()
	documents := func(text string) *pilotv1.DeleteRequest {
		return &pilotv1.DeleteRequest{Documents: []*pilotv1.Document{{Name: "f.yaml", Content: []byte(text)}}}
	}
	conflict := fmt.Sprintf("based on revision 1; the object is at revision %d: get it and look at it before you delete it", now)
	for name, c := range map[string]struct {
		req  *pilotv1.DeleteRequest
		want string
	}{
		"older, in a document": {documents(fmt.Sprintf(twoRules, now, 1)),
			"Aborted: RouteRule default/b: metadata.revision: " + conflict + "\nf.yaml:10:13: RouteRule default/b: metadata.revision: " + conflict},
		"older, by name": {&pilotv1.DeleteRequest{Kind: "routerule", Name: "b", Revision: 1},
			"Aborted: RouteRule default/b: metadata.revision: " + conflict + "\n:0:0: RouteRule default/b: metadata.revision: " + conflict},
		"not there, in a document": {documents(strings.Replace(fmt.Sprintf(twoRules, 0, 0), "name: b", "name: c", 1)),
			"NotFound: RouteRule default/c: does not exist\nf.yaml:6:1: RouteRule default/c: : does not exist"},
		"twice": {documents(strings.Replace(fmt.Sprintf(twoRules, 0, 0), "name: b", "name: a", 1)),
			"InvalidArgument: RouteRule default/a: metadata.name: RouteRule default/a is here twice, first in f.yaml, line 1\n" +
				"f.yaml:9:9: RouteRule default/a: metadata.name: RouteRule default/a is here twice, first in f.yaml, line 1"},
		"broken document":  {documents("- a"), "InvalidArgument: a document is a mapping with apiVersion, kind, metadata and spec; this is a list\nf.yaml:1:1: : : a document is a mapping with apiVersion, kind, metadata and spec; this is a list"},
		"empty document":   {documents("# nothing"), "InvalidArgument: there are no objects in this file\nf.yaml:0:0: : : there are no objects in this file"},
		"a stray revision": {&pilotv1.DeleteRequest{Refs: []*configv1.ObjectRef{{Kind: "RouteRule", Name: "b"}}, Revision: now}, "InvalidArgument: a revision goes with kind, namespace and name; documents say it in metadata.revision"},
		"two ways":         {&pilotv1.DeleteRequest{Kind: "RouteRule", Name: "b", Documents: documents("").GetDocuments()}, "InvalidArgument: give either refs, or documents, or kind, namespace and name"},
	} {
		_, err := s.Delete(ctx, c.req)
		if d := cmp.Diff(c.want, outcome(err)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	missing := documents(strings.Replace(fmt.Sprintf(twoRules, 0, now), "name: a", "name: c", 1))
	missing.IgnoreMissing = true
	r, err := s.Delete(ctx, missing)
	if err != nil || len(r.GetDeleted()) != 1 || r.GetDeleted()[0].GetRef().GetName() != "b" {
		t.Errorf("the right revision, and one that is not there: got %v (%v)", r, err)
	}
	again, err := s.Delete(ctx, missing)
	if err != nil || len(again.GetDeleted()) != 0 || again.GetRevision() != r.GetRevision() {
		t.Errorf("nothing to delete: got %v (%v), want nothing at revision %d", again, err, r.GetRevision())
	}
	r, err = s.Delete(ctx, &pilotv1.DeleteRequest{Kind: "RouteRule", Name: "a", Revision: now})
	if err != nil || len(r.GetDeleted()) != 1 {
		t.Errorf("by name, the right revision: got %v (%v)", r, err)
	}
}

// heard is a waiter that notes what it is asked for.
type heard struct{ last *pilotv1.WaitRequest }

func (h *heard) Wait(req *pilotv1.WaitRequest, _ pilotv1.ConfigService_WaitServer) error {
	h.last = req
	return nil
}

// TestWaitForWhatIsThere: what is neither there nor was deleted is not waited for.
func TestWaitForWhatIsThere(t *testing.T) {
	s, h := open(t), &heard{}
	s.wait = h
	if _, err := apply(s, "good.yaml", good); err != nil {
		t.Fatal(outcome(err))
	}
	gone, err := s.Delete(t.Context(), &pilotv1.DeleteRequest{Kind: "RouteRule", Name: "all"})
	if err != nil {
		t.Fatal(outcome(err))
	}
	for name, c := range map[string]struct {
		kind, name string
		revision   uint64
		want       string
	}{
		"there":                     {"services", "reviews", 0, "Service default/reviews"},
		"there, by Istio's kind":    {"denier", "no", 0, "Handler default/no.denier"},
		"deleted":                   {"RouteRule", "all", gone.GetRevision(), "RouteRule default/all"},
		"deleted, without revision": {"RouteRule", "all", 0, "NotFound: RouteRule default/all does not exist; to wait until it is gone, say since which revision"},
		"never there":               {"RouteRule", "nobody", 0, "NotFound: RouteRule default/nobody does not exist; to wait until it is gone, say since which revision"},
		"never there, at a revision": {"RouteRule", "nobody", gone.GetRevision(),
			fmt.Sprintf("NotFound: RouteRule default/nobody does not exist, and was not deleted up to revision %d", gone.GetRevision())},
		"not read yet": {"RouteRule", "soon", gone.GetRevision() + 1, "RouteRule default/soon"},
		"no kind":      {"pod", "x", 0, `InvalidArgument: unknown kind "pod"; there are AttributeManifest`},
	} {
		h.last = nil
		err := s.Wait(&pilotv1.WaitRequest{Revision: c.revision, Refs: []*configv1.ObjectRef{{Kind: c.kind, Name: c.name}}}, nil)
		got := ""
		if err != nil {
			got = outcome(err)
		} else if r := h.last.GetRefs()[0]; r != nil {
			got = r.GetKind() + " " + r.GetNamespace() + "/" + r.GetName()
		}
		if !strings.HasPrefix(got, c.want) || err == nil && got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// sees is a desk with a view of the test's own.
type sees struct {
	desk
	view ingest.View
}

func (s sees) View() (ingest.View, uint64, bool) { return s.view, 9, true }

// TestNoWaitForWhatNobodyWrote: no proxy is asked about a workload that registered itself.
func TestNoWaitForWhatNobodyWrote(t *testing.T) {
	h := &heard{}
	ref := model.Ref{Kind: "Workload", Namespace: "default", Name: "reviews-v1"}
	s := NewServer(sees{view: ingest.View{ref: {Object: &configv1.Object{Metadata: &configv1.Metadata{Origin: "registry:agent"}}}}}, h)
	err := s.Wait(&pilotv1.WaitRequest{Refs: []*configv1.ObjectRef{{Kind: "Workload", Name: "reviews-v1"}}}, nil)
	const want = "FailedPrecondition: Workload default/reviews-v1 registered itself: there is no revision that somebody wrote to wait for"
	if err == nil || outcome(err) != want || h.last != nil {
		t.Errorf("got %v, waits %v, want %s", err, h.last != nil, want)
	}
}
