package api

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// Wait implements pilotv1.ConfigServiceServer: it refuses to wait for what was never
// there, or was not written, and leaves the waiting to others.
func (s *Server) Wait(req *pilotv1.WaitRequest, stream pilotv1.ConfigService_WaitServer) error {
	req = proto.CloneOf(req)
	for i, r := range req.GetRefs() {
		ref, err := named(r.GetKind(), r.GetNamespace(), r.GetName())
		if err != nil {
			return err
		}
		req.Refs[i] = &configv1.ObjectRef{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
	}
	view, revision, ok := s.desk.View()
	if !ok || req.GetRevision() > revision {
		return s.wait.Wait(req, stream) // it waits for that as well
	}
	for _, r := range req.GetRefs() {
		ref, err := named(r.GetKind(), r.GetNamespace(), r.GetName())
		if err != nil {
			return err
		}
		e, there := view[ref]
		switch {
		case strings.HasPrefix(e.Object.GetMetadata().GetOrigin(), "registry:"):
			return fault.Precondition.Errorf("%s registered itself: there is no revision that somebody wrote to wait for", ref)
		case there:
		case req.GetRevision() == 0:
			return fault.NotFound.Errorf("%s does not exist; to wait until it is gone, say since which revision", ref)
		case !s.desk.Deleted(ref, req.GetRevision()):
			return fault.NotFound.Errorf("%s does not exist, and was not deleted up to revision %d", ref, req.GetRevision())
		}
	}
	return s.wait.Wait(req, stream)
}
