// Package expr makes instances: it compiles the expressions of a template's fields and
// computes the template's value for a request. In: an Instance object's spec. Out:
// values of package template. It does no I/O.
package expr

import (
	"fmt"
	"maps"
	"slices"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// Instance is a template with its fields' expressions. It does not change.
type Instance struct {
	typ  template.Type
	make func(rule.Source) (any, error)
}

// Type returns what is known before the first request.
func (i *Instance) Type() template.Type { return i.typ }

// Eval computes the template's value: one of the types of package template. An error
// names the field.
func (i *Instance) Eval(src rule.Source) (any, error) {
	v, err := i.make(src)
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", i.typ.Name, err)
	}
	return v, nil
}

// Compile checks an instance. name is its full name, "name.template.namespace".
func Compile(lang *rule.Language, name, tmpl string, params *structpb.Struct) (*Instance, error) {
	c := compiler{lang: lang}
	i := &Instance{typ: template.Type{Name: name, Template: tmpl}}
	switch tmpl {
	case template.NameCheckNothing:
		_, c.err = Decode(params, &configv1.CheckNothingParams{})
		i.make = func(rule.Source) (any, error) { return template.CheckNothing{Name: name}, nil }
	case template.NameReportNothing:
		_, c.err = Decode(params, &configv1.ReportNothingParams{})
		i.make = func(rule.Source) (any, error) { return template.ReportNothing{Name: name}, nil }
	case template.NameListEntry:
		i.make = c.listEntry(name, paramsOf(&c, params, &configv1.ListEntryParams{}))
	case template.NameMetric:
		i.make = c.metric(i, paramsOf(&c, params, &configv1.MetricParams{}))
	case template.NameLogEntry:
		i.make = c.logEntry(i, paramsOf(&c, params, &configv1.LogEntryParams{}))
	default:
		return nil, fmt.Errorf("template %q is not known", tmpl)
	}
	if c.err != nil {
		return nil, c.err
	}
	return i, nil
}

func paramsOf[M proto.Message](c *compiler, params *structpb.Struct, prototype M) M {
	m, err := Decode(params, prototype)
	if err != nil {
		c.err = err
		return prototype
	}
	return m.(M)
}

func (c *compiler) listEntry(name string, p *configv1.ListEntryParams) func(rule.Source) (any, error) {
	value := c.field("value", p.GetValue(), rule.String)
	return func(src rule.Source) (any, error) {
		v, err := value.text(src)
		return template.ListEntry{Name: name, Value: v}, err
	}
}

func (c *compiler) metric(i *Instance, p *configv1.MetricParams) func(rule.Source) (any, error) {
	value := c.field("value", p.GetValue(), rule.Any)
	dimensions := c.fields("dimensions", p.GetDimensions())
	kind := c.optional("monitored_resource_type", p.GetMonitoredResourceType(), rule.String)
	resource := c.fields("monitored_resource_dimensions", p.GetMonitoredResourceDimensions())
	if c.err != nil {
		return nil
	}
	i.typ.Value, i.typ.Dimensions = valueType(value.program.Type()), dimensions.types()
	return func(src rule.Source) (any, error) {
		out := template.Metric{Name: i.typ.Name}
		var err error
		if out.Value, err = value.value(src); err != nil {
			return nil, err
		}
		if out.Dimensions, err = dimensions.values(src); err != nil {
			return nil, err
		}
		if out.MonitoredResourceType, err = kind.text(src); err != nil {
			return nil, err
		}
		out.MonitoredResourceDimensions, err = resource.values(src)
		return out, err
	}
}

func (c *compiler) logEntry(i *Instance, p *configv1.LogEntryParams) func(rule.Source) (any, error) {
	variables := c.fields("variables", p.GetVariables())
	severity := c.optional("severity", p.GetSeverity(), rule.String)
	at := c.optional("timestamp", p.GetTimestamp(), rule.Timestamp)
	kind := c.optional("monitored_resource_type", p.GetMonitoredResourceType(), rule.String)
	resource := c.fields("monitored_resource_dimensions", p.GetMonitoredResourceDimensions())
	if c.err != nil {
		return nil
	}
	i.typ.Dimensions = variables.types()
	return func(src rule.Source) (any, error) {
		out := template.LogEntry{Name: i.typ.Name}
		var err error
		if out.Variables, err = variables.values(src); err != nil {
			return nil, err
		}
		if out.Severity, err = severity.text(src); err != nil {
			return nil, err
		}
		if out.Timestamp, err = at.time(src); err != nil {
			return nil, err
		}
		if out.MonitoredResourceType, err = kind.text(src); err != nil {
			return nil, err
		}
		out.MonitoredResourceDimensions, err = resource.values(src)
		return out, err
	}
}

func valueType(t rule.Type) configv1.ValueType {
	switch t {
	case rule.Int64:
		return configv1.ValueType_INT64
	case rule.Double:
		return configv1.ValueType_DOUBLE
	case rule.Bool:
		return configv1.ValueType_BOOL
	case rule.Timestamp:
		return configv1.ValueType_TIMESTAMP
	case rule.IPAddress:
		return configv1.ValueType_IP_ADDRESS
	case rule.Duration:
		return configv1.ValueType_DURATION
	case rule.StringMap:
		return configv1.ValueType_STRING_MAP
	}
	return configv1.ValueType_STRING
}

// sent is the request's own time, if it has one.
func sent(src rule.Source) time.Time {
	v, _ := src.Value("request.time")
	t, _ := v.(time.Time)
	return t
}

func (f fields) types() map[string]configv1.ValueType {
	out := make(map[string]configv1.ValueType, len(f))
	for _, one := range f {
		out[one.key] = valueType(one.program.Type())
	}
	return out
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
