// Package noop is the adapter that says yes to every Check and forgets every Report.
package noop

import (
	"context"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// Info describes the adapter; it takes every template.
func Info() adapter.Info {
	return adapter.Info{
		Name: "noop",
		Templates: []string{
			template.NameCheckNothing, template.NameListEntry, template.NameLogEntry,
			template.NameMetric, template.NameReportNothing,
		},
		Params: &configv1.NoopParams{},
		Build:  func(proto.Message, adapter.Env) (adapter.Handler, error) { return handler{}, nil },
	}
}

// yes holds as good as for ever.
func yes() (adapter.Verdict, error) {
	const often = 1_000_000_000
	return adapter.Verdict{ValidDuration: often * time.Second, ValidUseCount: often}, nil
}

type handler struct{}

func (handler) CheckNothing(context.Context, template.CheckNothing) (adapter.Verdict, error) {
	return yes()
}

func (handler) ListEntry(context.Context, template.ListEntry) (adapter.Verdict, error) {
	return yes()
}

func (handler) LogEntry(context.Context, []template.LogEntry) error           { return nil }
func (handler) Metric(context.Context, []template.Metric) error               { return nil }
func (handler) ReportNothing(context.Context, []template.ReportNothing) error { return nil }
func (handler) Immediate() bool                                               { return true }
func (handler) Close() error                                                  { return nil }
