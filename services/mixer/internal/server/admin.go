package server

import (
	"context"

	mixerv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/mixer/v1"
)

// plans tells of the plan in force.
type plans interface {
	Status() (revision uint64, rules []*mixerv1.RuleStatus, handlers []*mixerv1.HandlerStatus)
}

// Admin serves mixer's own API.
type Admin struct {
	mixerv1.UnimplementedAdminServiceServer
	s     *Server
	plans plans
}

// Admin returns the service.
func (s *Server) Admin(p plans) *Admin { return &Admin{s: s, plans: p} }

// GetStatus implements the service.
func (a *Admin) GetStatus(context.Context, *mixerv1.GetStatusRequest) (*mixerv1.GetStatusResponse, error) {
	revision, rules, handlers := a.plans.Status()
	checks, reports := a.s.Counts()
	return &mixerv1.GetStatusResponse{
		ConfigRevision: revision, RegistryRevision: a.s.world.Snapshot().Revision,
		Rules: rules, Handlers: handlers, Checks: checks, Reports: reports,
	}, nil
}
