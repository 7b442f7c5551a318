package attr

import (
	"fmt"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func timestamp(name string, t *timestamppb.Timestamp) (any, error) {
	if err := t.CheckValid(); err != nil {
		return nil, fmt.Errorf("%sattribute %s: %w", refusal, name, err)
	}
	return t.AsTime(), nil
}

func duration(name string, d *durationpb.Duration) (any, error) {
	if err := d.CheckValid(); err != nil {
		return nil, fmt.Errorf("%sattribute %s: %w", refusal, name, err)
	}
	return d.AsDuration(), nil
}
