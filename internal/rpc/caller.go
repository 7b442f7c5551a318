package rpc

import (
	"context"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"

	"github.com/outrigger-mesh/outrigger/internal/fault"
	"github.com/outrigger-mesh/outrigger/internal/identity"
	"github.com/outrigger-mesh/outrigger/internal/spiffe"
)

// Caller is who called.
type Caller struct {
	// ID is the verified identity; zero if no certificate was shown.
	ID spiffe.ID
	// Local is set for a call by Unix socket from an allowed user.
	Local bool
	// Admin is set if the caller may call admin methods.
	Admin bool
	// Address is the peer's network address, for logs and limits.
	Address string
}

// String names the caller for logs.
func (c Caller) String() string {
	switch {
	case c.Local:
		return "local administrator"
	case c.ID.IsZero():
		return "anonymous at " + c.Address
	}
	return c.ID.String()
}

type callerKey struct{}

// CallerFrom returns who made the call that ctx belongs to.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// WithCaller returns a context of a call by c, for tests of handlers.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// Metadata keys that the gateway sets and that nobody else is believed in.
const (
	callerID      = "outrigger-caller-id"
	callerLocal   = "outrigger-caller-local"
	callerAddress = "outrigger-caller-address"
)

// GatewayMetadata is how the REST gateway tells who called it.
func GatewayMetadata(c Caller) metadata.MD {
	md := metadata.Pairs(callerAddress, c.Address)
	if !c.ID.IsZero() {
		md.Set(callerID, c.ID.String())
	}
	if c.Local {
		md.Set(callerLocal, "true")
	}
	return md
}

// caller says who calls, now. A connection may have been opened with a certificate that
// has ended since: it proves nothing any more.
func (s *Server) caller(ctx context.Context, now time.Time) (Caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}, nil
	}
	c := Caller{Address: p.Addr.String()}
	switch a := p.AuthInfo.(type) {
	case credentials.TLSInfo:
		c.ID = identity.PeerID(a.State.PeerCertificates)
		if end := identity.PeerEnd(a.State.PeerCertificates); !end.IsZero() && now.After(end) {
			return c, fault.Unauthenticated.Errorf("the certificate of %s on this connection ended at %s: connect with its successor",
				c, end.UTC().Format(time.RFC3339))
		}
	case localAuth:
		c.Local = true
	case gatewayAuth:
		c = gatewayCaller(ctx)
	}
	c.Admin = c.Local || s.admins[c.ID]
	return c, nil
}

func gatewayCaller(ctx context.Context) Caller {
	md, _ := metadata.FromIncomingContext(ctx)
	one := func(key string) string {
		if v := md.Get(key); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	c := Caller{Address: one(callerAddress), Local: one(callerLocal) == "true"}
	if id, err := spiffe.Parse(one(callerID)); err == nil {
		c.ID = id
	}
	return c
}

// allow decides whether c may call method.
func (s *Server) allow(c Caller, method string) error {
	level := s.access[method]
	switch {
	case level == Open, c.Admin, level == Mesh && !c.ID.IsZero():
		return nil
	case c.ID.IsZero():
		return fault.Unauthenticated.Errorf("%s: show a mesh certificate, or call by the Unix socket", method)
	}
	return fault.Denied.Errorf("%s: %s may not call this", method, c.ID)
}

// atTheDoor says who makes a call, in its context, and refuses the call of who may not make
// it before anything of its request is read: what the interceptors see is decoded, and
// decoding costs a hundred times the memory of what was sent. Methods that are not served
// have no request, and get their own answer.
func (s *Server) atTheDoor(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !s.methods[info.FullMethodName] {
		return ctx, nil
	}
	began := time.Now()
	c, err := s.caller(metadata.NewIncomingContext(ctx, info.Header), began)
	if err == nil {
		err = s.allow(c, info.FullMethodName)
	}
	if err != nil {
		err = s.finish(info.FullMethodName, nil, err)
		s.calls.ended(ctx, info.FullMethodName, began, err)
		return ctx, err
	}
	return WithCaller(ctx, c), nil
}

// admitted refuses a call that did not come by the door.
func admitted(ctx context.Context, method string) error {
	if _, ok := ctx.Value(callerKey{}).(Caller); !ok {
		return fault.Internal.Errorf("%s: nobody has looked at who calls", method)
	}
	return nil
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
	began := time.Now()
	defer func() {
		err = s.finish(info.FullMethod, recover(), err)
		s.calls.ended(ctx, info.FullMethod, began, err)
	}()
	if err := admitted(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	began := time.Now()
	defer func() {
		err = s.finish(info.FullMethod, recover(), err)
		s.calls.ended(ss.Context(), info.FullMethod, began, err)
	}()
	if err := admitted(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, ss)
}

// finish maps an error to its status; a panic of a handler becomes an internal error,
// because one bad request must not end the service for all.
func (s *Server) finish(method string, panicked any, err error) error {
	if panicked != nil {
		s.tel.Log.Error("handler panicked", "method", method, "panic", panicked, "stack", string(debug.Stack()))
		err = fault.Internal.Errorf("panic")
	}
	if err == nil {
		return nil
	}
	st := Status(err)
	if fault.Of(err) == fault.Internal && panicked == nil && st.Message() == internalText {
		s.tel.Log.Error("call not answered", "method", method, "error", err)
	}
	return st.Err()
}
