package rpc

import (
	"context"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

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
	c.Admin = s.IsAdmin(c)
	return c, nil
}

// IsAdmin reports whether c is an administrator by where or as whom it calls.
func (s *Server) IsAdmin(c Caller) bool { return c.Local || s.admins[c.ID] }

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

// door is what every call of a method comes by. Who may not make it is refused before
// anything of the request is read: to decode one costs a hundred times the memory of what
// was sent. gRPC's tap handle could refuse earlier, but leaves the timer of a refused call
// with a deadline behind.
func (s *Server) door(method string, next grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, ss grpc.ServerStream) (err error) {
		began := time.Now()
		defer func() {
			err = s.finish(method, recover(), err)
			s.calls.ended(ss.Context(), method, began, err)
		}()
		c, err := s.caller(ss.Context(), began)
		if err == nil {
			err = s.allow(c, method)
		}
		if err != nil {
			return err
		}
		limit := s.cfg.RequestLimit()
		if !c.Admin {
			limit = min(limit, meshMessage)
		}
		return next(srv, &entered{ServerStream: ss, ctx: WithCaller(ss.Context(), c), of: s, limit: limit})
	}
}

// one makes a method of one request a stream, which is read when it is received: before
// that nothing is.
func one(call grpc.MethodHandler) grpc.StreamHandler {
	return func(srv any, ss grpc.ServerStream) error {
		answer, err := call(srv, ss.Context(), ss.RecvMsg, nil)
		if err != nil {
			return err
		}
		return ss.SendMsg(answer)
	}
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
