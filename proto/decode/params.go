package decode

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Adapters returns the adapters, sorted.
func Adapters() []string { return []string{"denier", "list", "noop", "prometheus", "stdio"} }

// Templates returns the templates, sorted.
func Templates() []string {
	return []string{"checknothing", "listentry", "logentry", "metric", "reportnothing"}
}

// AdapterParams returns an empty message of the type of an adapter's params, nil if the
// adapter is not known.
func AdapterParams(adapter string) proto.Message {
	switch adapter {
	case "denier":
		return &configv1.DenierParams{}
	case "list":
		return &configv1.ListParams{}
	case "noop":
		return &configv1.NoopParams{}
	case "prometheus":
		return &configv1.PrometheusParams{}
	case "stdio":
		return &configv1.StdioParams{}
	}
	return nil
}

// TemplateParams returns an empty message of the type of a template's params, nil if the
// template is not known.
func TemplateParams(template string) proto.Message {
	switch template {
	case "checknothing":
		return &configv1.CheckNothingParams{}
	case "listentry":
		return &configv1.ListEntryParams{}
	case "logentry":
		return &configv1.LogEntryParams{}
	case "metric":
		return &configv1.MetricParams{}
	case "reportnothing":
		return &configv1.ReportNothingParams{}
	}
	return nil
}

// Params reads what a Struct carries into a message of its type, as AdapterParams and
// TemplateParams give it. A nil Struct is an empty one.
func Params(from *structpb.Struct, into proto.Message) error {
	if from == nil {
		proto.Reset(into)
		return nil
	}
	text, err := protojson.Marshal(from)
	if err != nil {
		return fmt.Errorf("params: %w", err)
	}
	if err := protojson.Unmarshal(text, into); err != nil {
		return fmt.Errorf("params: %w", err)
	}
	return nil
}

// Struct is the inverse of Params: field names in lowerCamelCase, enums by name, nothing
// that is unset; nil for an empty message.
func Struct(params proto.Message) (*structpb.Struct, error) {
	text, err := protojson.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	out := &structpb.Struct{}
	if err := protojson.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	if len(out.Fields) == 0 {
		return nil, nil
	}
	return out, nil
}
