package noop

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/adaptertest"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, adaptertest.Case{Info: Info(), Good: `{}`, Inputs: []any{
		template.CheckNothing{}, template.ListEntry{}, template.Metric{}, template.LogEntry{}, template.ReportNothing{},
	}})
}

func TestSaysYes(t *testing.T) {
	t.Parallel()
	v, err := adaptertest.Ask(t.Context(), adaptertest.Build(t, Info(), `{}`, adapter.Env{}), template.ListEntry{Value: "x"})
	if err != nil || v.Code != codes.OK || v.ValidUseCount != 1e9 || v.ValidDuration.Seconds() != 1e9 {
		t.Errorf("got %+v, %v, want OK for 1e9 s and uses", v, err)
	}
}
