package decode

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// form says how the documents of one kind become objects.
type form struct {
	// kind of the object.
	kind string
	// plural of the document's kind.
	plural string
	// A mixer kind of Istio: its spec is the params of this adapter or template.
	adapter, template string
}

// kinds are the kinds of outrigger.dev/v1.
var kinds = map[string]form{
	"RouteRule":         {kind: "RouteRule", plural: "RouteRules"},
	"DestinationPolicy": {kind: "DestinationPolicy", plural: "DestinationPolicies"},
	"EgressRule":        {kind: "EgressRule", plural: "EgressRules"},
	"Rule":              {kind: "Rule", plural: "Rules"},
	"Handler":           {kind: "Handler", plural: "Handlers"},
	"Instance":          {kind: "Instance", plural: "Instances"},
	"AttributeManifest": {kind: "AttributeManifest", plural: "AttributeManifests"},
	"Service":           {kind: "Service", plural: "Services"},
	"Workload":          {kind: "Workload", plural: "Workloads"},
}

// istioKinds are the kinds of config.istio.io/v1alpha2.
var istioKinds = map[string]form{
	"RouteRule":         {kind: "RouteRule", plural: "RouteRules"},
	"DestinationPolicy": {kind: "DestinationPolicy", plural: "DestinationPolicies"},
	"EgressRule":        {kind: "EgressRule", plural: "EgressRules"},
	"rule":              {kind: "Rule", plural: "rules"},
	"attributemanifest": {kind: "AttributeManifest", plural: "attributemanifests"},
	"denier":            {kind: "Handler", plural: "deniers", adapter: "denier"},
	"listchecker":       {kind: "Handler", plural: "listcheckers", adapter: "list"},
	"prometheus":        {kind: "Handler", plural: "prometheuses", adapter: "prometheus"},
	"stdio":             {kind: "Handler", plural: "stdios", adapter: "stdio"},
	"noop":              {kind: "Handler", plural: "noops", adapter: "noop"},
	"checknothing":      {kind: "Instance", plural: "checknothings", template: "checknothing"},
	"listentry":         {kind: "Instance", plural: "listentries", template: "listentry"},
	"metric":            {kind: "Instance", plural: "metrics", template: "metric"},
	"logentry":          {kind: "Instance", plural: "logentries", template: "logentry"},
	"reportnothing":     {kind: "Instance", plural: "reportnothings", template: "reportnothing"},
}

// later are kinds of Istio 0.2 and 0.3 that are known and do not act yet.
var later = []string{
	"HTTPAPISpec", "HTTPAPISpecBinding", "IngressRule", "QuotaSpec", "QuotaSpecBinding",
	"apikey", "kubernetes", "memquota", "quota", "stackdriver", "statsd", "svcctrl",
	"svcctrlreport", "tracespan",
}

// Kinds returns the kinds of objects, sorted.
func Kinds() []string { return names(kinds) }

// Kind finds the kind that a person means: any case, singular or plural, ours or
// Istio's. For a mixer kind of Istio suffix is what its names end with: "denier" gives
// "Handler" and ".denier".
func Kind(word string) (kind, suffix string, ok bool) {
	for _, table := range []map[string]form{kinds, istioKinds} {
		for _, name := range names(table) {
			f := table[name]
			if !strings.EqualFold(word, name) && !strings.EqualFold(word, f.plural) {
				continue
			}
			if f.adapter != "" || f.template != "" {
				suffix = "." + name
			}
			return f.kind, suffix, true
		}
	}
	return "", "", false
}

func names(table map[string]form) []string {
	out := make([]string, 0, len(table))
	for name := range table {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// specField returns the field of Object that holds the spec of a kind.
func specField(kind string) protoreflect.FieldDescriptor {
	fields := (*configv1.Object)(nil).ProtoReflect().Descriptor().Oneofs().ByName("spec").Fields()
	for i := range fields.Len() {
		if string(fields.Get(i).Message().Name()) == kind {
			return fields.Get(i)
		}
	}
	return nil
}

// NewSpec sets the spec of o's kind to an empty one if it has none. It reports whether
// the kind is known.
func NewSpec(o *configv1.Object) bool {
	fd := specField(o.GetKind())
	if fd != nil && !o.ProtoReflect().Has(fd) {
		o.ProtoReflect().Mutable(fd)
	}
	return fd != nil
}
