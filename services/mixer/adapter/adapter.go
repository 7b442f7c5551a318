// Package adapter is what the author of a mixer adapter imports: how an adapter
// describes itself, how handlers are made of it, and what they are asked. An adapter is
// one Info value in the table of package mixer; package adaptertest checks that it keeps
// the promises below.
package adapter

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// Info describes an adapter.
type Info struct {
	// Name as in Handler.adapter.
	Name string
	// Templates whose instances its handlers take. Handlers implement the interface of
	// each of them.
	Templates []string
	// Params is an empty message of the type that Handler.params is decoded into.
	Params proto.Message
	// Validate checks decoded params against the instances that rules send to the
	// handler. It is pure; nil means that there is nothing to check.
	Validate func(params proto.Message, env Env) error
	// Build makes a handler of params that were validated. It does not block: what
	// takes time belongs into Runner.Run.
	Build func(params proto.Message, env Env) (Handler, error)
}

// Env is what a handler knows of its place.
type Env struct {
	// Handler is the full name of the handler, "name.adapter.namespace".
	Handler string
	// Namespace of the Handler object.
	Namespace string
	// Instances are those that rules send to the handler, sorted by name.
	Instances []template.Type
	// Log for what an operator should know. Nil while validating.
	Log *slog.Logger
}

// Handler is a configured adapter. Its methods are called by many goroutines at once.
// Calls have a deadline (but see Immediate), and a panic in one becomes an error; what
// comes after the deadline is thrown away. Close is called once, after the last call.
type Handler interface {
	Close() error
}

// Runner is a Handler with work beside its calls. Run is started when the handler is
// made and its ctx ends before Close.
type Runner interface {
	Run(ctx context.Context) error
}

// Immediate is a Handler that, if Immediate returns true, answers every call at once: it
// waits for nothing, does no I/O and computes for microseconds only. It is then called
// by the request's own goroutine, with no deadline of the call's own. Immediate is called
// once, when the handler is made; a Handler without it may wait.
type Immediate interface {
	Immediate() bool
}

// Verdict is a decision.
type Verdict struct {
	// Code is OK or the reason for a refusal, Message says it to the user.
	Code    codes.Code
	Message string
	// How long and how often the verdict may be used again; zero: not at all.
	ValidDuration time.Duration
	ValidUseCount int32
}

// CheckNothing is implemented by handlers for the template of that name. An error means
// that there is no decision.
type CheckNothing interface {
	CheckNothing(ctx context.Context, in template.CheckNothing) (Verdict, error)
}

// ListEntry is implemented by handlers for the template of that name.
type ListEntry interface {
	ListEntry(ctx context.Context, in template.ListEntry) (Verdict, error)
}

// Metric is implemented by handlers for the template of that name.
type Metric interface {
	Metric(ctx context.Context, in []template.Metric) error
}

// LogEntry is implemented by handlers for the template of that name.
type LogEntry interface {
	LogEntry(ctx context.Context, in []template.LogEntry) error
}

// ReportNothing is implemented by handlers for the template of that name.
type ReportNothing interface {
	ReportNothing(ctx context.Context, in []template.ReportNothing) error
}
