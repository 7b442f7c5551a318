package ingest

import (
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// notYet is what every field says that nothing acts on.
const notYet = "not supported yet"

// form checks one document by itself.
func (c *checker) form(d decode.Decoded) {
	say := c.on(d)
	names(d.Object, say)
	switch spec := d.Object.GetSpec().(type) {
	case *configv1.Object_RouteRule:
		routeRule(spec.RouteRule, say)
	case *configv1.Object_DestinationPolicy, *configv1.Object_EgressRule:
		say("kind", "%s: "+notYet, d.Object.GetKind())
	case *configv1.Object_Rule:
		c.rule(d, spec.Rule)
	case *configv1.Object_Handler:
		handler(spec.Handler, say)
	case *configv1.Object_Instance:
		c.instance(spec.Instance, say, c.warn(d))
		resource(spec.Instance, say)
	case *configv1.Object_AttributeManifest:
		// languages has checked it: what manifests mean depends on all of them.
	case *configv1.Object_Service:
		service(spec.Service, c.settings.Addresses, say)
		if len(spec.Service.GetSelector()) == 0 {
			c.warn(d)("spec.selector", "without a selector the service has no workloads")
		}
	case *configv1.Object_Workload:
		workload(d.Object, say)
		c.written(d.Object, say)
	}
}

// unsupported refuses the fields of m that are set and named, each by its path.
func unsupported(m protoreflect.ProtoMessage, path string, say report, fields ...protoreflect.Name) {
	r := m.ProtoReflect()
	for _, name := range fields {
		if fd := r.Descriptor().Fields().ByName(name); r.Has(fd) {
			say(path+"."+fd.JSONName(), notYet)
		}
	}
}

// span checks that a duration that is set lies between two others.
func span(d *durationpb.Duration, low, high time.Duration, field string, say report) {
	if d == nil {
		return
	}
	if v := d.AsDuration(); v < low || v > high {
		say(field, "%v: want %v to %v", v, low, high)
	}
}

// millis is span for what is rounded to milliseconds.
func millis(d *durationpb.Duration, high time.Duration, field string, say report) {
	if v := d.AsDuration(); d != nil && v%time.Millisecond != 0 {
		say(field, "%v: want whole milliseconds", v)
		return
	}
	span(d, time.Millisecond, high, field, say)
}
