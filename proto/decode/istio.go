package decode

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// params decodes the params of an adapter or template strictly. as is nil if the
// adapter or template is not known, which is reported elsewhere.
func (r *reader) params(n *yaml.Node, as proto.Message, path string, depth int) *structpb.Struct {
	if as == nil {
		return nil
	}
	before := len(r.problems)
	r.message(n, as.ProtoReflect(), path, depth)
	if r.stopped || len(r.problems) > before {
		return nil
	}
	s, err := Struct(as)
	if err != nil {
		r.report(where(n), path, "%v", err)
	}
	return s
}

// istioParams makes a Handler or Instance from the spec of a mixer kind of Istio.
func (r *reader) istioParams(f form, spec *yaml.Node, o *configv1.Object) {
	as := AdapterParams(f.adapter)
	if f.template != "" {
		as = TemplateParams(f.template)
	}
	if spec != nil && !isNull(spec) {
		r.message(spec, as.ProtoReflect(), "spec", 1)
	}
	if p, ok := as.(*configv1.PrometheusParams); ok {
		for i, m := range p.Metrics {
			m.InstanceName = r.reference(m.InstanceName, indexed("spec.metrics", i)+".instanceName", "instance")
		}
	}
	s, err := Struct(as)
	if err != nil {
		r.report(r.places["spec"], "spec", "%v", err)
	}
	switch {
	case f.adapter != "":
		o.GetHandler().Adapter, o.GetHandler().Params = f.adapter, s
	default:
		o.GetInstance().Template, o.GetInstance().Params = f.template, s
	}
}

// istioRule rewrites the references of a rule of Istio.
func (r *reader) istioRule(rule *configv1.Rule) {
	for i, a := range rule.Actions {
		at := indexed("spec.actions", i)
		a.Handler = r.reference(a.Handler, at+".handler", "handler")
		for j := range a.Instances {
			a.Instances[j] = r.reference(a.Instances[j], indexed(at+".instances", j), "instance")
		}
	}
}

// reference turns Istio's name.kind[.namespace] into ours, [namespace/]name.kind. An
// empty one stays: whoever checks the object says that it is missing.
func (r *reader) reference(ref, path, what string) string {
	if ref == "" {
		return ""
	}
	parts := strings.Split(ref, ".")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		r.report(r.places[path], path, "want name.kind or name.kind.namespace, got %s", shortQuote(ref))
		return ref
	}
	kind := parts[1]
	f, known := istioKinds[kind]
	if !known || (what == "handler") != (f.adapter != "") || (what == "instance") != (f.template != "") {
		message := "%s is no kind of %s"
		if slices.Contains(later, kind) {
			message = "%s: not supported yet (as %s)"
		}
		r.report(r.places[path], path, message, kind, what)
		return ref
	}
	if len(parts) == 3 {
		return parts[2] + "/" + parts[0] + "." + kind
	}
	return parts[0] + "." + kind
}
