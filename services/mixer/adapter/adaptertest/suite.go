// Package adaptertest is what every adapter must pass: the promises of package adapter,
// as tests.
package adaptertest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// Case is one configuration of an adapter.
type Case struct {
	Info adapter.Info
	// Good are params in JSON with which a handler for Env can be made; Bad are some with
	// which it cannot, by the name of the mistake.
	Good string
	Bad  map[string]string
	Env  adapter.Env
	// Inputs are instances that the handler takes without error.
	Inputs []any
}

// Run runs the suite.
func Run(t *testing.T, c Case) {
	t.Helper()
	t.Run("describes itself", c.describes)
	t.Run("refuses bad params", c.refuses)
	t.Run("answers many at once", c.answers)
	t.Run("answers at once if it says so", c.immediate)
	t.Run("ends", c.ends)
	t.Run("may be made twice", c.twice)
}

// Params decodes params from JSON.
func Params(t *testing.T, info adapter.Info, text string) proto.Message {
	t.Helper()
	p := info.Params.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(text), p); err != nil {
		t.Fatalf("params %s: %v", text, err)
	}
	return p
}

// Build validates params and makes a handler, which is run and closed with the test.
func Build(t *testing.T, info adapter.Info, text string, env adapter.Env) adapter.Handler {
	t.Helper()
	h, stop := start(t, info, text, env)
	t.Cleanup(stop)
	return h
}

func start(t *testing.T, info adapter.Info, text string, env adapter.Env) (adapter.Handler, func()) {
	t.Helper()
	env.Log = slog.New(slog.DiscardHandler)
	p := Params(t, info, text)
	if info.Validate != nil {
		if err := info.Validate(p, env); err != nil {
			t.Fatalf("validate %s: %v", text, err)
		}
	}
	h, err := info.Build(p, env)
	if err != nil {
		t.Fatalf("build %s: %v", text, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if r, ok := h.(adapter.Runner); ok {
		go func() { done <- r.Run(ctx) }()
	} else {
		done <- nil
	}
	return h, func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("run goes on 10 s after its context ended")
		}
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// Ask calls the handler with an instance, whatever its template.
func Ask(ctx context.Context, h adapter.Handler, in any) (v adapter.Verdict, err error) {
	switch in := in.(type) {
	case template.CheckNothing:
		if h, ok := h.(adapter.CheckNothing); ok {
			return h.CheckNothing(ctx, in)
		}
	case template.ListEntry:
		if h, ok := h.(adapter.ListEntry); ok {
			return h.ListEntry(ctx, in)
		}
	case template.Metric:
		if h, ok := h.(adapter.Metric); ok {
			return v, h.Metric(ctx, []template.Metric{in})
		}
	case template.LogEntry:
		if h, ok := h.(adapter.LogEntry); ok {
			return v, h.LogEntry(ctx, []template.LogEntry{in})
		}
	case template.ReportNothing:
		if h, ok := h.(adapter.ReportNothing); ok {
			return v, h.ReportNothing(ctx, []template.ReportNothing{in})
		}
	}
	return v, fmt.Errorf("a %T does not take a %T", h, in)
}

func (c Case) describes(t *testing.T) {
	h := Build(t, c.Info, c.Good, c.Env)
	if c.Info.Name == "" || len(c.Info.Templates) == 0 {
		t.Fatalf("name %q, templates %v: want both", c.Info.Name, c.Info.Templates)
	}
	for _, name := range c.Info.Templates {
		ok := false
		switch name {
		case template.NameCheckNothing:
			_, ok = h.(adapter.CheckNothing)
		case template.NameListEntry:
			_, ok = h.(adapter.ListEntry)
		case template.NameMetric:
			_, ok = h.(adapter.Metric)
		case template.NameLogEntry:
			_, ok = h.(adapter.LogEntry)
		case template.NameReportNothing:
			_, ok = h.(adapter.ReportNothing)
		}
		if !ok {
			t.Errorf("template %s is named and a %T does not take it", name, h)
		}
	}
}

func (c Case) refuses(t *testing.T) {
	for mistake, text := range c.Bad {
		p := Params(t, c.Info, text)
		if c.Info.Validate == nil {
			t.Fatal("there are bad params and nothing validates")
		}
		if err := c.Info.Validate(p, c.Env); err == nil {
			t.Errorf("%s: %s is taken", mistake, text)
		}
	}
}

func (c Case) answers(t *testing.T) {
	h := Build(t, c.Info, c.Good, c.Env)
	var wg sync.WaitGroup
	for _, in := range c.Inputs {
		for range 16 {
			wg.Go(func() {
				if _, err := Ask(t.Context(), h, in); err != nil {
					t.Errorf("%#v: %v", in, err)
				}
			})
		}
	}
	wg.Wait()
}

// immediate: who answers at once reads no deadline, and no time passes meanwhile; in a
// bubble time passes exactly when everybody waits.
func (c Case) immediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Build(t, c.Info, c.Good, c.Env)
		if i, ok := h.(adapter.Immediate); !ok || !i.Immediate() {
			return // it may wait, and what it does then is its own
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for _, in := range c.Inputs {
			want, err := Ask(t.Context(), h, in)
			if err != nil {
				t.Errorf("%#v: %v", in, err)
			}
			begun := time.Now()
			got, err := Ask(over, h, in)
			if err != nil || got != want {
				t.Errorf("%#v, when the context is over: %v, %v, want %v", in, got, err, want)
			}
			if took := time.Since(begun); took != 0 {
				t.Errorf("%#v: it waited for %v", in, took)
			}
		}
	})
}

func (c Case) ends(t *testing.T) {
	_, stop := start(t, c.Info, c.Good, c.Env)
	stop()
}

// twice: while the plan is swapped the old handler and the new one live together.
func (c Case) twice(t *testing.T) {
	_, stopOld := start(t, c.Info, c.Good, c.Env)
	h := Build(t, c.Info, c.Good, c.Env)
	stopOld()
	for _, in := range c.Inputs {
		if _, err := Ask(t.Context(), h, in); err != nil {
			t.Errorf("after the other was closed: %#v: %v", in, err)
		}
	}
}
