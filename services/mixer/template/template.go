// Package template holds what mixer hands to adapters: one Go type per template, and
// what is known of an instance before the first request. It is what an adapter's author
// imports beside package adapter; it holds values only.
package template

import (
	"strings"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// The names of the templates.
const (
	NameCheckNothing  = "checknothing"
	NameListEntry     = "listentry"
	NameLogEntry      = "logentry"
	NameMetric        = "metric"
	NameReportNothing = "reportnothing"
)

// Variety is when a template's instances are handed over.
type Variety int

// The varieties.
const (
	// Check instances decide about a request before it is served.
	Check Variety = iota
	// Report instances tell about a request that is over.
	Report
)

// VarietyOf returns a template's variety; ok is false for a name that is no template.
func VarietyOf(template string) (v Variety, ok bool) {
	switch template {
	case NameCheckNothing, NameListEntry:
		return Check, true
	case NameLogEntry, NameMetric, NameReportNothing:
		return Report, true
	}
	return 0, false
}

// Values are string, int64, float64, bool, time.Time, time.Duration, netip.Addr or
// map[string]string. Name is the instance's full name, "name.template.namespace".

// CheckNothing asks for a decision about nothing but that there is a request.
type CheckNothing struct{ Name string }

// ListEntry is a value to look up.
type ListEntry struct{ Name, Value string }

// Metric is one sample.
type Metric struct {
	Name                        string
	Value                       any
	Dimensions                  map[string]any
	MonitoredResourceType       string
	MonitoredResourceDimensions map[string]any
}

// LogEntry is one line. A zero Timestamp means that none is known.
type LogEntry struct {
	Name                        string
	Variables                   map[string]any
	Timestamp                   time.Time
	Severity                    string
	MonitoredResourceType       string
	MonitoredResourceDimensions map[string]any
}

// ReportNothing tells nothing but that there was a request.
type ReportNothing struct{ Name string }

// Type is what is known of an instance before the first request.
type Type struct {
	// Name is the full name, "name.template.namespace".
	Name     string
	Template string
	// Value is the type of a metric's value.
	Value configv1.ValueType
	// Dimensions are the types of a metric's dimensions or of a log entry's variables.
	Dimensions map[string]configv1.ValueType
}

// Is reports whether ref names the instance: "name", "name.template", the full name, or
// "namespace/name". Without a namespace, namespace is meant.
func (t Type) Is(ref, namespace string) bool {
	suffix := "." + t.Template + "."
	at := strings.LastIndex(t.Name, suffix)
	if at < 0 {
		return ref == t.Name
	}
	short, own := t.Name[:at], t.Name[at+len(suffix):]
	if ns, name, ok := strings.Cut(ref, "/"); ok {
		return ns == own && (name == short || name == short+"."+t.Template)
	}
	return ref == t.Name || own == namespace && (ref == short || ref == short+"."+t.Template)
}
