// Package stdio is the adapter that writes log entries and metrics as lines to the
// process's own output.
package stdio

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// Streams are where handlers write. A line is one write.
type Streams struct {
	mu       sync.Mutex
	out, err io.Writer
}

// New returns the process's streams.
func New(out, err io.Writer) *Streams { return &Streams{out: out, err: err} }

// Info describes the adapter.
func (s *Streams) Info() adapter.Info {
	return adapter.Info{
		Name:      "stdio",
		Templates: []string{template.NameLogEntry, template.NameMetric},
		Params:    &configv1.StdioParams{},
		Validate: func(p proto.Message, _ adapter.Env) error {
			_, err := s.handler(p)
			return err
		},
		Build: func(p proto.Message, _ adapter.Env) (adapter.Handler, error) { return s.handler(p) },
	}
}

type handler struct {
	streams *Streams
	to      io.Writer
	params  *configv1.StdioParams
}

func (s *Streams) handler(m proto.Message) (*handler, error) {
	p, ok := m.(*configv1.StdioParams)
	if !ok {
		return nil, fmt.Errorf("params are a %T", m)
	}
	h := &handler{streams: s, to: s.out, params: p}
	switch p.GetLogStream() {
	case configv1.StdioParams_STDOUT:
	case configv1.StdioParams_STDERR:
		h.to = s.err
	default:
		return nil, fmt.Errorf("log_stream %d is not known", p.GetLogStream())
	}
	for name, l := range p.GetSeverityLevels() {
		if _, ok := configv1.StdioParams_Level_name[int32(l)]; !ok {
			return nil, fmt.Errorf("severity_levels[%q]: level %d is not known", name, l)
		}
	}
	if _, ok := configv1.StdioParams_Level_name[int32(p.GetMetricLevel())]; !ok {
		return nil, fmt.Errorf("metric_level %d is not known", p.GetMetricLevel())
	}
	return h, nil
}

// LogEntry implements adapter.LogEntry. A severity that is not in the params is INFO.
func (h *handler) LogEntry(ctx context.Context, in []template.LogEntry) error {
	for _, e := range in {
		l := line{level: h.params.GetSeverityLevels()[e.Severity], at: e.Timestamp, instance: e.Name, values: e.Variables}
		if err := h.write(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// Metric implements adapter.Metric: the value stands among the dimensions.
func (h *handler) Metric(ctx context.Context, in []template.Metric) error {
	for _, m := range in {
		values := map[string]any{"value": m.Value}
		for k, v := range m.Dimensions {
			values[k] = v
		}
		if err := h.write(ctx, line{level: h.params.GetMetricLevel(), instance: m.Name, values: values}); err != nil {
			return err
		}
	}
	return nil
}

func (h *handler) write(ctx context.Context, l line) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.at.IsZero() {
		l.at = time.Now()
	}
	text := l.plain()
	if h.params.GetOutputAsJson() {
		text = l.json()
	}
	h.streams.mu.Lock()
	defer h.streams.mu.Unlock()
	if _, err := h.to.Write(text); err != nil {
		return fmt.Errorf("write a line: %w", err)
	}
	return nil
}

// Close implements adapter.Handler.
func (h *handler) Close() error { return nil }
