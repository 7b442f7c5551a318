package ingest

import (
	"maps"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"github.com/outrigger-mesh/outrigger/services/pilot/internal/model"
)

// expression is one field of a template.
type expression struct {
	field, text string
	want        rule.Type
	needed      bool
	number      bool
}

// instance checks the expressions of one Instance, each against the type of its field.
func (c *checker) instance(i *configv1.Instance, say, warn report) {
	params := decode.TemplateParams(i.GetTemplate())
	if params == nil {
		say("spec.template", "unknown template %q; want one of %s", i.GetTemplate(), strings.Join(decode.Templates(), ", "))
		return
	}
	if err := decode.Params(i.GetParams(), params); err != nil {
		say("spec.params", "%v", err)
		return
	}
	var all []expression
	switch p := params.(type) {
	case *configv1.ListEntryParams:
		all = []expression{{field: "value", text: p.GetValue(), want: rule.String, needed: true}}
	case *configv1.MetricParams:
		all = append(all, expression{field: "value", text: p.GetValue(), needed: true, number: true},
			expression{field: "monitoredResourceType", text: p.GetMonitoredResourceType(), want: rule.String})
		all = append(all, each("dimensions", p.GetDimensions())...)
		all = append(all, each("monitoredResourceDimensions", p.GetMonitoredResourceDimensions())...)
	case *configv1.LogEntryParams:
		all = append(all, expression{field: "timestamp", text: p.GetTimestamp(), want: rule.Timestamp},
			expression{field: "severity", text: p.GetSeverity(), want: rule.String},
			expression{field: "monitoredResourceType", text: p.GetMonitoredResourceType(), want: rule.String})
		all = append(all, each("variables", p.GetVariables())...)
		all = append(all, each("monitoredResourceDimensions", p.GetMonitoredResourceDimensions())...)
	}
	for _, e := range all {
		c.expression(e, i.GetTemplate() == "listentry", say, warn)
	}
}

// noResource is how documents of Istio say that a sample is of no resource in particular.
const noResource = `"UNSPECIFIED"`

// resource refuses to describe a monitored resource: no adapter has a use for it.
func resource(i *configv1.Instance, say report) {
	fields := i.GetParams().GetFields()
	if v := fields["monitoredResourceType"]; v != nil && strings.TrimSpace(v.GetStringValue()) != noResource {
		say("spec.params.monitoredResourceType", notYet+`; leave it out, or write '"UNSPECIFIED"'`)
	}
	if fields["monitoredResourceDimensions"] != nil {
		say("spec.params.monitoredResourceDimensions", notYet)
	}
}

// each makes expressions of a mapping.
func each(field string, m map[string]string) []expression {
	var out []expression
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, expression{field: field + "[" + k + "]", text: m[k], needed: true})
	}
	return out
}

func (c *checker) expression(e expression, atCheck bool, say, warn report) {
	field := "spec.params." + e.field
	if e.text == "" {
		if e.needed {
			say(field, "missing")
		}
		return
	}
	prg, err := c.language.Compile(e.text, e.want)
	if err != nil {
		say(field, "%s", expressionError(err))
		return
	}
	switch t := prg.Type(); {
	case e.number && t != rule.Int64 && t != rule.Double && t != rule.Duration:
		say(field, "the expression is of type %v; a metric's value is an int64, double or duration", t)
	case e.want == rule.Any && t == rule.StringMap:
		say(field, "the expression is of type %v; want a single value, such as one of its keys", t)
	}
	if name, ok := late(prg); ok && atCheck {
		warn(field, "%s is not known yet when a request is checked", name)
	} else {
		warnUnsent(field, prg, warn)
	}
	if !atCheck {
		warnUnrecorded(field, prg, warn)
	}
}

// warnUnrecorded warns of headers that the records of proxies do not have.
func warnUnrecorded(field string, prg *rule.Program, warn report) {
	recorded := model.RecordedHeaders()
	for _, key := range prg.Keys("request.headers") {
		if !slices.Contains(recorded, key) {
			warn(field, "the records of proxies do not have the header %s: there it is as if it had not been sent; they have %s",
				key, strings.Join(recorded, ", "))
		}
	}
}

// unsentPrefixes begin the attributes that mixer never has of a proxy's request.
var unsentPrefixes = [...]string{
	"api.", "check.", "connection.", "context.time", "origin.", "quota.", "request.api_key", "request.auth.", "request.reason",
	"response.headers",
}

// warnUnsent warns of an attribute of the built-in vocabulary that proxies do not send.
func warnUnsent(field string, prg *rule.Program, warn report) {
	for _, a := range prg.Attributes() {
		for _, prefix := range unsentPrefixes {
			if strings.HasPrefix(a, prefix) {
				warn(field, "no proxy sends %s, only clients of istio.mixer.v1 do: about requests of proxies the rule sees its default, or without one has no answer", a)
				return
			}
		}
	}
}

// late finds an attribute that exists only once the response does.
func late(prg *rule.Program) (name string, ok bool) {
	for _, a := range prg.Attributes() {
		if strings.HasPrefix(a, "response.") {
			return a, true
		}
	}
	return "", false
}
