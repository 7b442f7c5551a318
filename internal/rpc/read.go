package rpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/tap"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// What a workload may make a service keep. Decoded, a message can need a hundred times
// the memory of what was sent.
const (
	// firstMessage is how long it may take from the headers of a call to the end of its
	// first message.
	firstMessage = 10 * time.Second
	// meshMessage bounds a message of who is no administrator, in bytes: enough for the
	// names of 40,000 resources.
	meshMessage = 4 << 20
	// largeMessage is one that is decoded when no other such is, in bytes.
	largeMessage = 256 << 10
)

type stopKey struct{}

// stoppable gives a call a context that the door can end, and all that waits for the call's
// messages with it.
func stoppable(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, stop := context.WithCancel(ctx) // at its end at the latest the call's own context ends it
	return context.WithValue(ctx, stopKey{}, stop), nil
}

// entered is a call of which it is known who makes it.
type entered struct {
	grpc.ServerStream
	ctx   context.Context
	of    *Server
	limit int  // of its messages, in bytes
	begun bool // it has had its first message
}

// Context implements grpc.ServerStream.
func (e *entered) Context() context.Context { return e.ctx }

// RecvMsg implements grpc.ServerStream.
func (e *entered) RecvMsg(to any) error {
	m := message{to: to, limit: e.limit, large: &e.of.large}
	if e.begun {
		return m.error(e.ServerStream.RecvMsg(&m))
	}
	e.begun = true
	stop, ok := e.ctx.Value(stopKey{}).(context.CancelFunc)
	if !ok {
		return fault.Internal.Errorf("a call that nobody could stop")
	}
	defer time.AfterFunc(e.of.first, stop).Stop()
	return m.error(e.ServerStream.RecvMsg(&m)) // gRPC answers that the call was cancelled
}

// message is one to be decoded, within bounds.
type message struct {
	to    any
	limit int
	large *sync.Mutex // is held while a large one is decoded
	err   error       // why it was not decoded: gRPC answers for itself if it is told
}

// error is why there is no message, ours or gRPC's.
func (m *message) error(err error) error {
	if err == nil {
		return m.err
	}
	return err // a status
}

// codec decodes messages within their bounds.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, to any) error {
	m, ok := to.(*message)
	if !ok {
		return c.CodecV2.Unmarshal(data, to)
	}
	n := data.Len()
	if n > m.limit {
		m.err = fault.Exhausted.Errorf("a message of %d bytes; at most %d are taken", n, m.limit)
		return nil
	}
	if n > largeMessage {
		m.large.Lock()
		defer m.large.Unlock()
	}
	return c.CodecV2.Unmarshal(data, m.to)
}
