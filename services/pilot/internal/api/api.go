// Package api serves ConfigService: documents and names come in over gRPC (and REST,
// through the gateway), and what became of them goes back. It decodes and hands on;
// ingest decides.
package api

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/ingest"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/intake"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// Origin is that of the objects that come in here.
const Origin = "api"

// desk is where batches are handed in.
type desk interface {
	Submit(ctx context.Context, b intake.Batch) (*intake.Result, error)
	View() (v ingest.View, revision uint64, ok bool)
	// Deleted tells whether an object was deleted up to a revision; true as well of
	// deletions that are so long ago that nobody remembers.
	Deleted(ref model.Ref, upTo uint64) bool
}

// waiter follows a revision through the fleet.
type waiter interface {
	Wait(req *pilotv1.WaitRequest, stream pilotv1.ConfigService_WaitServer) error
}

// Server implements pilotv1.ConfigServiceServer.
type Server struct {
	pilotv1.UnimplementedConfigServiceServer
	desk desk
	wait waiter
}

// NewServer returns a Server that hands batches to d and lets w answer Wait.
func NewServer(d desk, w waiter) *Server { return &Server{desk: d, wait: w} }

// Apply implements pilotv1.ConfigServiceServer.
func (s *Server) Apply(ctx context.Context, req *pilotv1.ApplyRequest) (*pilotv1.ApplyResponse, error) {
	docs, err := decoded(req.GetDocuments(), req.GetNamespace())
	if err != nil {
		return nil, err
	}
	r, err := s.desk.Submit(ctx, intake.Batch{Input: ingest.Input{Origin: Origin, Documents: docs}, Writer: rpc.CallerFrom(ctx).String(), DryRun: req.GetDryRun()})
	if err != nil {
		return nil, refused(err)
	}
	return &pilotv1.ApplyResponse{Revision: r.Revision, Applied: r.Applied, Warnings: r.Warnings}, nil
}

// Get implements pilotv1.ConfigServiceServer.
func (s *Server) Get(_ context.Context, req *pilotv1.GetRequest) (*pilotv1.GetResponse, error) {
	ref, err := named(req.GetKind(), req.GetNamespace(), req.GetName())
	if err != nil {
		return nil, err
	}
	view, _, ok := s.desk.View()
	if !ok {
		return nil, errUnread
	}
	e, ok := view[ref]
	if !ok {
		return nil, fault.NotFound.Errorf("%s does not exist", ref)
	}
	text, err := decode.Encode(e.Object)
	if err != nil {
		return nil, err
	}
	return &pilotv1.GetResponse{Object: e.Object, Document: string(text)}, nil
}

// List implements pilotv1.ConfigServiceServer.
func (s *Server) List(_ context.Context, req *pilotv1.ListRequest) (*pilotv1.ListResponse, error) {
	kind, suffix := "", ""
	if req.GetKind() != "" {
		var err error
		if kind, suffix, err = kindOf(req.GetKind()); err != nil {
			return nil, err
		}
	}
	view, revision, ok := s.desk.View()
	if !ok {
		return nil, errUnread
	}
	var refs []model.Ref
	for ref := range view {
		if (kind == "" || ref.Kind == kind) && strings.HasSuffix(ref.Name, suffix) &&
			(req.GetNamespace() == "" || ref.Namespace == req.GetNamespace()) {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, model.Ref.Compare)
	out := &pilotv1.ListResponse{Revision: revision}
	for _, ref := range refs {
		out.Objects = append(out.Objects, view[ref].Object)
	}
	if n := proto.Size(out); n > maxAnswer {
		return nil, fault.Exhausted.Errorf("%d objects of %s together do not fit into one answer; list a kind or a namespace",
			len(refs), decode.Size(int64(n)))
	}
	return out, nil
}

// errUnread is the answer while there is nothing to answer from.
var errUnread = fault.Unavailable.Errorf("pilot has not read what the bus holds yet")

// maxAnswer stays below what one message may have.
const maxAnswer = 15 << 20

// kindOf understands kinds in any spelling.
func kindOf(word string) (kind, suffix string, err error) {
	kind, suffix, ok := decode.Kind(word)
	if !ok {
		return "", "", fault.Invalid.Errorf("unknown kind %q; there are %s", word, strings.Join(decode.Kinds(), ", "))
	}
	return kind, suffix, nil
}

// named makes a ref of what a caller says.
func named(kind, namespace, name string) (model.Ref, error) {
	if kind == "" || name == "" {
		return model.Ref{}, fault.Invalid.Errorf("want a kind and a name")
	}
	k, suffix, err := kindOf(kind)
	if err != nil {
		return model.Ref{}, err
	}
	if !strings.HasSuffix(name, suffix) {
		name += suffix
	}
	return model.Ref{Kind: k, Namespace: cmp.Or(namespace, decode.DefaultNamespace), Name: name}, nil
}

// refused gives a refusal its kind and its details.
func refused(err error) error {
	var r *ingest.Refusal
	if !errors.As(err, &r) {
		return err
	}
	return rpc.WithDetail(r.Kind.Errorf("%w", r), &pilotv1.Problems{Problems: ingest.Told(r.Problems)})
}
