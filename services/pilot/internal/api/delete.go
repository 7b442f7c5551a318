package api

import (
	"cmp"
	"context"
	"slices"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Delete implements pilotv1.ConfigServiceServer.
func (s *Server) Delete(ctx context.Context, req *pilotv1.DeleteRequest) (*pilotv1.DeleteResponse, error) {
	in, err := deletions(req)
	if err != nil {
		return nil, err
	}
	if req.GetIgnoreMissing() {
		view, revision, ok := s.desk.View()
		if !ok {
			return nil, errUnread
		}
		in.Deletes = slices.DeleteFunc(in.Deletes, func(ref model.Ref) bool { _, there := view[ref]; return !there })
		if len(in.Deletes) == 0 {
			return &pilotv1.DeleteResponse{Revision: revision}, nil
		}
	}
	r, err := s.desk.Submit(ctx, intake.Batch{Input: in, Writer: rpc.CallerFrom(ctx).String()})
	if err != nil {
		return nil, refused(err)
	}
	return &pilotv1.DeleteResponse{Revision: r.Revision, Deleted: r.Applied}, nil
}

// deletions reads what a request names: in one of three ways.
func deletions(req *pilotv1.DeleteRequest) (ingest.Input, error) {
	in := ingest.Input{Origin: Origin, Named: map[model.Ref]decode.Decoded{}}
	one := req.GetKind() != "" || req.GetName() != ""
	switch {
	case one && len(req.GetRefs()) > 0, one && len(req.GetDocuments()) > 0, len(req.GetRefs()) > 0 && len(req.GetDocuments()) > 0:
		return in, fault.Invalid.Errorf("give either refs, or documents, or kind, namespace and name")
	case req.GetRevision() != 0 && !one:
		return in, fault.Invalid.Errorf("a revision goes with kind, namespace and name; documents say it in metadata.revision")
	case len(req.GetDocuments()) > 0:
		return in, written(req, &in)
	}
	refs := req.GetRefs()
	if one {
		refs = []*configv1.ObjectRef{{Kind: req.GetKind(), Namespace: req.GetNamespace(), Name: req.GetName()}}
	}
	if len(refs) == 0 {
		return in, fault.Invalid.Errorf("nothing is named that shall be deleted")
	}
	for _, r := range refs {
		ref, err := named(r.GetKind(), r.GetNamespace(), r.GetName())
		if err != nil {
			return in, err
		}
		if !slices.Contains(in.Deletes, ref) {
			in.Deletes = append(in.Deletes, ref)
		}
		if req.GetRevision() != 0 {
			in.Named[ref] = decode.Decoded{Object: &configv1.Object{Metadata: &configv1.Metadata{Revision: req.GetRevision()}}}
		}
	}
	return in, nil
}

// written takes what documents name.
func written(req *pilotv1.DeleteRequest, in *ingest.Input) error {
	docs, err := decoded(req.GetDocuments(), req.GetNamespace())
	if err != nil {
		return err
	}
	refusal := &ingest.Refusal{Kind: fault.Invalid}
	for _, d := range docs {
		ref := model.RefOf(d.Object)
		if first, twice := in.Named[ref]; twice {
			refusal.Problems = append(refusal.Problems, d.Problem("metadata.name", "%s is here twice, first in %s, line %d", ref, first.File, first.Line))
			continue
		}
		in.Named[ref] = d
		in.Deletes = append(in.Deletes, ref)
	}
	if len(refusal.Problems) > 0 {
		return refused(refusal)
	}
	return nil
}

// decoded reads documents; there is at least one object in them.
func decoded(documents []*pilotv1.Document, namespace string) ([]decode.Decoded, error) {
	var out []decode.Decoded
	var problems []*pilotv1.Problem
	for _, d := range documents {
		docs, wrong := decode.Documents(cmp.Or(d.GetName(), unnamed), d.GetContent(), namespace)
		out = append(out, docs...)
		problems = append(problems, wrong...)
	}
	if len(problems) > 0 {
		return nil, refused(&ingest.Refusal{Kind: fault.Invalid, Problems: problems})
	}
	if len(out) == 0 {
		return nil, nothing(documents)
	}
	return out, nil
}

// maxNamed is how many files without objects are named.
const maxNamed = 100

// nothing says in which files there are no objects.
func nothing(documents []*pilotv1.Document) error {
	r := &ingest.Refusal{Kind: fault.Invalid}
	for _, d := range documents[:min(len(documents), maxNamed)] {
		r.Problems = append(r.Problems, &pilotv1.Problem{File: cmp.Or(d.GetName(), unnamed), Message: "there are no objects in this file"})
	}
	if len(r.Problems) == 0 {
		return fault.Invalid.Errorf("there are no documents in what was sent")
	}
	return refused(r)
}

// unnamed stands for the name of a document that has none.
const unnamed = "<document>"
