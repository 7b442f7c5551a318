package server

import (
	"context"
	"net/netip"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/attr"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/plan"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/registry"
)

// The context extensions that pilot gives its ext_authz filters.
const (
	// ExtensionClass is "allow" or "deny": which rules are asked.
	ExtensionClass = "outrigger.class"
	// ExtensionDestination is the asking proxy, "<workload>.<namespace>". Without it the
	// workload is found by the address that the request came to.
	ExtensionDestination = "outrigger.destination"
	// ExtensionService is the host name of the service that was asked for.
	ExtensionService = "outrigger.service"
)

// unlimited is how long a quota holds that nobody configured.
const unlimited = 10 * time.Second

// Authorization serves envoy.service.auth.v3.
type Authorization struct {
	authv3.UnimplementedAuthorizationServer
	s *Server
}

// Authorization returns the service.
func (s *Server) Authorization() *Authorization { return &Authorization{s: s} }

// Check implements the service. An error means that there is no verdict: Envoy then does
// what the filter's class says.
func (a *Authorization) Check(ctx context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	ext := req.GetAttributes().GetContextExtensions()
	var class plan.Class
	switch ext[ExtensionClass] {
	case "allow":
		class = plan.Allow
	case "deny":
		class = plan.Deny
	default:
		return nil, fault.Invalid.Errorf("context extension %s is %q, want allow or deny", ExtensionClass, ext[ExtensionClass])
	}
	snap := a.s.world.Snapshot()
	bag := attr.FromCheck(req)
	w, err := a.asking(snap, rpc.CallerFrom(ctx), ext[ExtensionDestination], bag)
	if err != nil {
		return nil, err
	}
	a.s.countCheck(ctx, "ext_authz", ext[ExtensionClass], proxyName(w))
	r := attr.Unnoted(bag, source(snap, bag), attr.Overlay{Values: snap.Destination(w, ext[ExtensionService])})
	return authorization(a.s.engine.Check(ctx, r, class)), nil
}

// asking is the workload whose proxy asks: the one it names, else the one that has the
// address that the request came to. Either way its account is the caller's.
func (a *Authorization) asking(snap *registry.Snapshot, caller rpc.Caller, name string, bag *attr.Bag) (*registry.Workload, error) {
	if name != "" {
		return a.s.speaksFor(snap, caller, name)
	}
	v, _ := bag.Value("destination.ip")
	ip, _ := v.(netip.Addr)
	if w, ok := snap.Peer(ip, caller.ID); ok {
		return w, nil
	}
	if snap.Known(ip) {
		return nil, fault.Denied.Errorf("the workload at %v does not belong to %s", ip, caller)
	}
	return nil, fault.Unavailable.Errorf("no workload at %v is in the registry", ip)
}

func authorization(v plan.Verdict) *authv3.CheckResponse {
	if v.Code == codes.OK {
		return &authv3.CheckResponse{
			Status:       &statuspb.Status{},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		}
	}
	return &authv3.CheckResponse{
		Status: &statuspb.Status{Code: int32(v.Code), Message: v.Message},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: httpStatus(v.Code)},
			Body:   codeName(v.Code) + ":" + v.Message,
		}},
	}
}

// httpStatus maps as Istio's filter did, but for CANCELLED, whose 499 Envoy does not
// take.
func httpStatus(c codes.Code) typev3.StatusCode {
	switch c {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return typev3.StatusCode_BadRequest
	case codes.DeadlineExceeded:
		return typev3.StatusCode_GatewayTimeout
	case codes.NotFound:
		return typev3.StatusCode_NotFound
	case codes.AlreadyExists, codes.Aborted:
		return typev3.StatusCode_Conflict
	case codes.PermissionDenied:
		return typev3.StatusCode_Forbidden
	case codes.Unauthenticated:
		return typev3.StatusCode_Unauthorized
	case codes.ResourceExhausted:
		return typev3.StatusCode_TooManyRequests
	case codes.Unimplemented:
		return typev3.StatusCode_NotImplemented
	case codes.Unavailable:
		return typev3.StatusCode_ServiceUnavailable
	}
	return typev3.StatusCode_InternalServerError
}
