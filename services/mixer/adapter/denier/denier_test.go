package denier

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter/adaptertest"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, adaptertest.Case{
		Info: Info(), Good: `{"status": {"code": 7}}`,
		Bad: map[string]string{
			"code":     `{"status": {"code": 17}}`,
			"duration": `{"validDuration": "-1s"}`,
			"uses":     `{"valid_use_count": -1}`,
		},
		Inputs: []any{template.CheckNothing{Name: "a"}, template.ListEntry{Name: "b", Value: "c"}},
	})
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		params string
		want   adapter.Verdict
	}{
		{`{}`, adapter.Verdict{Code: codes.FailedPrecondition, ValidDuration: 5 * time.Second, ValidUseCount: 1000}},
		{`{"status": {"code": 7, "message": "Not allowed"}}`, adapter.Verdict{Code: codes.PermissionDenied, Message: "Not allowed", ValidDuration: 5 * time.Second, ValidUseCount: 1000}},
		{`{"valid_duration": "2s", "valid_use_count": 3}`, adapter.Verdict{Code: codes.FailedPrecondition, ValidDuration: 2 * time.Second, ValidUseCount: 3}},
	} {
		got, err := adaptertest.Ask(t.Context(), adaptertest.Build(t, Info(), c.params, adapter.Env{}), template.CheckNothing{})
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", c.params, err, d)
		}
	}
}
