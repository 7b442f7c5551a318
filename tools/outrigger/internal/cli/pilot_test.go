package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// pilot keeps objects in memory and answers as the real one does: what is decoded is
// kept, at one revision for each call, and nothing is checked beyond that.
type pilot struct {
	pilotv1.UnimplementedConfigServiceServer
	pilotv1.UnimplementedStatusServiceServer

	mu       sync.Mutex
	revision uint64
	objects  map[string]*configv1.Object
	// waits are the answers of Wait, by the name of the first object waited for.
	waits  map[string][]*pilotv1.WaitResponse
	status *pilotv1.GetStatusResponse
	busy   error // of GetStatus
}

// serve answers at the socket of a state folder until the test ends.
func (p *pilot) serve(t *testing.T, state string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(state, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(state, "run", "pilot.grpc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	p.listen(t, l)
}

func (p *pilot) listen(t *testing.T, l net.Listener, opts ...grpc.ServerOption) {
	t.Helper()
	s := grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(16<<20))...)
	pilotv1.RegisterConfigServiceServer(s, p)
	pilotv1.RegisterStatusServiceServer(s, p)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		// A server that is stopped before its goroutine came to serve says so.
		if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
}

func keyOf(o *configv1.Object) string {
	return o.GetKind() + "/" + o.GetMetadata().GetNamespace() + "/" + o.GetMetadata().GetName()
}

func refused(code codes.Code, problems ...*pilotv1.Problem) error {
	st, err := status.New(code, problems[0].GetMessage()).WithDetails(&pilotv1.Problems{Problems: problems})
	if err != nil {
		return err
	}
	return st.Err()
}

func (p *pilot) Apply(_ context.Context, req *pilotv1.ApplyRequest) (*pilotv1.ApplyResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var docs []decode.Decoded
	var problems, warnings []*pilotv1.Problem
	for _, d := range req.GetDocuments() {
		found, wrong := decode.Documents(d.GetName(), d.GetContent(), req.GetNamespace())
		docs, problems = append(docs, found...), append(problems, wrong...)
	}
	if len(problems) > 0 {
		return nil, refused(codes.InvalidArgument, problems...)
	}
	if len(docs) == 0 {
		return nil, refused(codes.InvalidArgument, &pilotv1.Problem{File: req.GetDocuments()[0].GetName(), Message: "there are no objects in this file"})
	}
	r := &pilotv1.ApplyResponse{Revision: p.revision}
	changed := false
	for _, d := range docs {
		if w := d.Object.GetMetadata().GetAnnotations()["warn"]; w != "" {
			warnings = append(warnings, d.Problem("metadata.annotations[warn]", "%s", w))
		}
		old := p.objects[keyOf(d.Object)]
		if want := d.Object.Metadata.Revision; want != 0 && want != old.GetMetadata().GetRevision() {
			return nil, refused(codes.Aborted, d.Problem("metadata.revision", "based on revision %d", want))
		}
		a := &pilotv1.Applied{Ref: refOf(d.Object), Action: pilotv1.Applied_CREATED, Revision: p.revision + 1}
		if old != nil {
			a.Action = pilotv1.Applied_UPDATED
			next := proto.CloneOf(d.Object)
			next.Metadata.Revision, next.ApiVersion, next.Metadata.Origin = old.Metadata.Revision, old.ApiVersion, old.Metadata.Origin
			if proto.Equal(old, next) {
				a.Action, a.Revision = pilotv1.Applied_UNCHANGED, old.Metadata.Revision
			}
		}
		changed = changed || a.Action != pilotv1.Applied_UNCHANGED
		r.Applied = append(r.Applied, a)
	}
	r.Warnings = warnings
	if req.GetDryRun() || !changed {
		return r, nil
	}
	p.revision++
	r.Revision = p.revision
	for i, d := range docs {
		if r.Applied[i].Action != pilotv1.Applied_UNCHANGED {
			d.Object.Metadata.Revision, d.Object.Metadata.Origin = p.revision, "api"
			p.objects[keyOf(d.Object)] = d.Object
		}
	}
	return r, nil
}

func refOf(o *configv1.Object) *configv1.ObjectRef {
	return &configv1.ObjectRef{Kind: o.GetKind(), Namespace: o.GetMetadata().GetNamespace(), Name: o.GetMetadata().GetName()}
}

func (p *pilot) Get(_ context.Context, req *pilotv1.GetRequest) (*pilotv1.GetResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kind, suffix, _ := decode.Kind(req.GetKind())
	key := kind + "/" + req.GetNamespace() + "/" + req.GetName()
	for _, k := range []string{key, key + suffix} {
		if o := p.objects[k]; o != nil {
			return &pilotv1.GetResponse{Object: o}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "%s does not exist", key)
}

func (p *pilot) List(_ context.Context, req *pilotv1.ListRequest) (*pilotv1.ListResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kind, _, _ := decode.Kind(req.GetKind())
	r := &pilotv1.ListResponse{Revision: p.revision}
	var keys []string
	for k, o := range p.objects {
		if (kind == "" || o.GetKind() == kind) && (req.GetNamespace() == "" || req.GetNamespace() == o.GetMetadata().GetNamespace()) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		r.Objects = append(r.Objects, p.objects[k])
	}
	return r, nil
}

// deletes lists what a deletion means, each with where that was said.
func deletes(req *pilotv1.DeleteRequest) (refs []*configv1.ObjectRef, said map[string]decode.Decoded, wrong []*pilotv1.Problem) {
	refs, said = req.GetRefs(), map[string]decode.Decoded{}
	for _, d := range req.GetDocuments() {
		found, problems := decode.Documents(d.GetName(), d.GetContent(), req.GetNamespace())
		wrong = append(wrong, problems...)
		for _, x := range found {
			refs, said[keyOf(x.Object)] = append(refs, refOf(x.Object)), x
		}
	}
	return refs, said, wrong
}

func (p *pilot) Delete(_ context.Context, req *pilotv1.DeleteRequest) (*pilotv1.DeleteResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	refs, said, wrong := deletes(req)
	if len(wrong) > 0 {
		return nil, refused(codes.InvalidArgument, wrong...)
	}
	r := &pilotv1.DeleteResponse{Revision: p.revision}
	var keys []string
	for _, ref := range refs {
		key := ref.GetKind() + "/" + ref.GetNamespace() + "/" + ref.GetName()
		o, d := p.objects[key], said[key]
		if o == nil && req.GetIgnoreMissing() {
			continue
		}
		if o == nil {
			return nil, refused(codes.NotFound, &pilotv1.Problem{Object: refName(ref), Message: "does not exist"})
		}
		if want := d.Object.GetMetadata().GetRevision(); want != 0 && want != o.GetMetadata().GetRevision() {
			return nil, refused(codes.Aborted, d.Problem("metadata.revision", "based on revision %d", want))
		}
		keys = append(keys, key)
		r.Deleted = append(r.Deleted, &pilotv1.Applied{Ref: ref, Action: pilotv1.Applied_DELETED, Revision: p.revision + 1})
	}
	for _, key := range keys {
		delete(p.objects, key)
	}
	if len(keys) > 0 {
		p.revision++
		r.Revision = p.revision
	}
	return r, nil
}

func (p *pilot) Wait(req *pilotv1.WaitRequest, stream pilotv1.ConfigService_WaitServer) error {
	name := ""
	if len(req.GetRefs()) > 0 {
		name = req.GetRefs()[0].GetName()
		if _, known := p.waits[name]; !known {
			return status.Errorf(codes.NotFound, "%s does not exist", refName(req.GetRefs()[0]))
		}
	}
	for _, r := range p.waits[name] {
		if err := stream.Send(r); err != nil {
			return err
		}
	}
	return nil
}

func (p *pilot) GetStatus(context.Context, *pilotv1.GetStatusRequest) (*pilotv1.GetStatusResponse, error) {
	return p.status, p.busy
}
