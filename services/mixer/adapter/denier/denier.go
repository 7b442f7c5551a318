// Package denier is the adapter that answers every Check with one status.
package denier

import (
	"context"
	"fmt"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// Info describes the adapter. Without a status it answers FAILED_PRECONDITION; an
// answer holds for 5 s and 1,000 uses.
func Info() adapter.Info {
	return adapter.Info{
		Name:      "denier",
		Templates: []string{template.NameCheckNothing, template.NameListEntry},
		Params:    &configv1.DenierParams{},
		Validate: func(p proto.Message, _ adapter.Env) error {
			_, err := verdict(p)
			return err
		},
		Build: func(p proto.Message, _ adapter.Env) (adapter.Handler, error) {
			v, err := verdict(p)
			return handler{v}, err
		},
	}
}

func verdict(m proto.Message) (adapter.Verdict, error) {
	p, ok := m.(*configv1.DenierParams)
	if !ok {
		return adapter.Verdict{}, fmt.Errorf("params are a %T", m)
	}
	v := adapter.Verdict{Code: codes.FailedPrecondition, ValidDuration: 5 * time.Second, ValidUseCount: 1000}
	if s := p.GetStatus(); s != nil {
		// Code 0 is OK, as written; 16 is the last code there is.
		if s.GetCode() < 0 || s.GetCode() > 16 {
			return v, fmt.Errorf("status.code: %d is not a gRPC code", s.GetCode())
		}
		v.Code, v.Message = codes.Code(s.GetCode()), s.GetMessage()
	}
	if d := p.GetValidDuration(); d != nil {
		if v.ValidDuration = d.AsDuration(); v.ValidDuration < 0 {
			return v, fmt.Errorf("valid_duration: %v is negative", v.ValidDuration)
		}
	}
	if n := p.GetValidUseCount(); n != 0 {
		if v.ValidUseCount = n; n < 0 {
			return v, fmt.Errorf("valid_use_count: %d is negative", n)
		}
	}
	return v, nil
}

type handler struct{ verdict adapter.Verdict }

func (h handler) CheckNothing(context.Context, template.CheckNothing) (adapter.Verdict, error) {
	return h.verdict, nil
}

func (h handler) ListEntry(context.Context, template.ListEntry) (adapter.Verdict, error) {
	return h.verdict, nil
}

// Immediate implements adapter.Immediate.
func (handler) Immediate() bool { return true }

func (handler) Close() error { return nil }
