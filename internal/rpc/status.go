package rpc

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

const internalText = "internal error; the service's log says more"

func code(k fault.Kind) codes.Code {
	switch k {
	case fault.Invalid:
		return codes.InvalidArgument
	case fault.Unauthenticated:
		return codes.Unauthenticated
	case fault.Denied:
		return codes.PermissionDenied
	case fault.NotFound:
		return codes.NotFound
	case fault.Conflict:
		return codes.Aborted
	case fault.Exhausted:
		return codes.ResourceExhausted
	case fault.Unavailable:
		return codes.Unavailable
	case fault.Precondition:
		return codes.FailedPrecondition
	}
	return codes.Internal
}

type detailed struct {
	error
	detail proto.Message
}

func (d *detailed) Unwrap() error { return d.error }

// WithDetail attaches a message that the caller gets with the status.
func WithDetail(err error, detail proto.Message) error { return &detailed{err, detail} }

// Status returns err as a caller may see it: by its fault.Kind, with its details, and
// without the text of internal errors.
func Status(err error) *status.Status {
	if st, ok := status.FromError(err); ok {
		return st
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err)
	}
	k := fault.Of(err)
	if k == fault.Internal {
		return status.New(codes.Internal, internalText)
	}
	st := status.New(code(k), err.Error())
	var d *detailed
	if errors.As(err, &d) {
		if with, err := st.WithDetails(protoadapt.MessageV1Of(d.detail)); err == nil {
			return with
		}
	}
	return st
}

// Fault turns an error of a client call into one with its kind.
func Fault(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	for k := fault.Invalid; k <= fault.Precondition; k++ {
		if code(k) == st.Code() {
			return k.Wrap(err, st.Message())
		}
	}
	if st.Code() == codes.DeadlineExceeded {
		return fault.Unavailable.Wrap(err, "no answer in time")
	}
	return err
}
