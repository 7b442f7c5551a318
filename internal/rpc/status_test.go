package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/rpc"
	gatewayv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/gateway/v1"
)

// kinds pairs what a service says with what its caller gets.
var kinds = map[fault.Kind]codes.Code{
	fault.Invalid: codes.InvalidArgument, fault.Unauthenticated: codes.Unauthenticated, fault.Denied: codes.PermissionDenied,
	fault.NotFound: codes.NotFound, fault.Conflict: codes.Aborted, fault.Exhausted: codes.ResourceExhausted,
	fault.Unavailable: codes.Unavailable, fault.Precondition: codes.FailedPrecondition,
}

func TestAKindSurvivesTheWay(t *testing.T) {
	for kind, code := range kinds {
		err := fmt.Errorf("rule %q: %w", "a", kind.Errorf("it is so"))
		st := rpc.Status(err)
		if st.Code() != code || st.Message() != `rule "a": it is so` {
			t.Errorf("kind %v became %v %q, want %v and its text", kind, st.Code(), st.Message(), code)
		}
		if got := fault.Of(rpc.Fault(st.Err())); got != kind {
			t.Errorf("kind %v came back as %v", kind, got)
		}
	}
}

func TestStatus(t *testing.T) {
	cases := map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"an error without a kind keeps its text to itself": {errors.New("password hunter2"), codes.Internal, "internal error; the service's log says more"},
		"so does an internal one":                          {fault.Internal.Errorf("password hunter2"), codes.Internal, "internal error; the service's log says more"},
		"the caller left":                                  {fmt.Errorf("read: %w", context.Canceled), codes.Canceled, "read: context canceled"},
		"the time was over":                                {fmt.Errorf("read: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "read: context deadline exceeded"},
		"a status stays":                                   {status.Error(codes.Unimplemented, "no such method"), codes.Unimplemented, "no such method"},
	}
	for name, c := range cases {
		if st := rpc.Status(c.err); st.Code() != c.code || st.Message() != c.text {
			t.Errorf("%s: got %v %q, want %v %q", name, st.Code(), st.Message(), c.code, c.text)
		}
	}
}

func TestFaultLeavesOtherErrorsAlone(t *testing.T) {
	if rpc.Fault(nil) != nil {
		t.Error("no error became one")
	}
	plain := errors.New("plain")
	if got := rpc.Fault(plain); !errors.Is(got, plain) || fault.Of(got) != fault.Internal {
		t.Errorf("got %v of kind %v, want the same error without a kind", got, fault.Of(got))
	}
	if got := fault.Of(rpc.Fault(status.Error(codes.DeadlineExceeded, "late"))); got != fault.Unavailable {
		t.Errorf("no answer in time became %v, want unavailable", got)
	}
}

func TestADetailComesWithTheStatus(t *testing.T) {
	err := rpc.WithDetail(fault.Conflict.Errorf("no"), &gatewayv1.GetStatusResponse{WaitingFor: "godot"})
	st := rpc.Status(fmt.Errorf("apply: %w", err))
	if st.Code() != codes.Aborted || len(st.Details()) != 1 {
		t.Fatalf("got %v, want one detail", st)
	}
	if d, ok := st.Details()[0].(*gatewayv1.GetStatusResponse); !ok || d.GetWaitingFor() != "godot" {
		t.Errorf("detail %v, want what was attached", st.Details()[0])
	}
}
