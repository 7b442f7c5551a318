package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/expr"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

func (b *builder) rule(o *configv1.Object) *draft {
	spec, k := o.GetRule(), keyOf(o)
	d := &draft{Rule: &Rule{
		Name: k.dotted(), Namespace: k.namespace,
		Deny: spec.GetOnUnavailable() == configv1.Rule_DENY, Timeout: DefaultTimeout,
	}}
	if b.lang == nil {
		d.err = errors.New("there is no expression language")
		return d
	}
	if d.Match, d.err = b.lang.Compile(spec.GetMatch(), rule.Bool); d.err != nil {
		d.err = fmt.Errorf("match: %w", d.err)
		return d
	}
	d.protocols(o)
	if t := spec.GetTimeout(); t != nil {
		d.Timeout = t.AsDuration()
		if d.Timeout < time.Millisecond || d.Timeout > 10*time.Second {
			d.err = fmt.Errorf("timeout: %v is not between 1ms and 10s", d.Timeout)
			return d
		}
	}
	if len(spec.GetActions()) == 0 {
		d.err = errors.New("there are no actions")
	}
	for i, a := range spec.GetActions() {
		if err := b.action(d, k.namespace, a); err != nil {
			d.err = fmt.Errorf("actions[%d]: %w", i, err)
			return d
		}
	}
	return d
}

// protocols: in a document of config.istio.io a rule is for TCP if it is labelled so or
// its match wants it, else for HTTP; in our own it is for whatever matches.
func (d *draft) protocols(o *configv1.Object) {
	d.TCP, d.HTTP = true, true
	if !strings.HasPrefix(o.GetApiVersion(), "config.istio.io/") {
		return
	}
	d.TCP = o.GetMetadata().GetLabels()["istio-protocol"] == "tcp" ||
		!rule.MayConcern(d.Match, map[string]any{"context.protocol": "http"})
	d.HTTP = !d.TCP
}

func (b *builder) action(d *draft, namespace string, a *configv1.Rule_Action) error {
	h, ok := find(b.handlers, a.GetHandler(), namespace, func(h *handler, kind string) bool {
		return h.Info.Name == kind || h.Info.Name == "list" && kind == "listchecker"
	})
	if !ok {
		return fmt.Errorf("there is no handler %q", a.GetHandler())
	}
	d.uses = append(d.uses, h)
	if h.err != nil {
		return fmt.Errorf("handler %s: %w", h.Object, h.err)
	}
	if len(a.GetInstances()) == 0 {
		return errors.New("there are no instances")
	}
	checks, reports := Action{Handler: h.Handler}, Action{Handler: h.Handler}
	for _, ref := range a.GetInstances() {
		i, err := b.sent(d, h, ref, namespace)
		if err != nil {
			return err
		}
		if v, _ := template.VarietyOf(i.Type().Template); v == template.Check {
			checks.Instances = append(checks.Instances, i)
		} else {
			reports.Instances = append(reports.Instances, i)
		}
	}
	if len(checks.Instances) > 0 {
		d.Checks = append(d.Checks, checks)
	}
	if len(reports.Instances) > 0 {
		d.Reports = append(d.Reports, reports)
	}
	return nil
}

// sent finds an instance and notes that d sends it to h.
func (b *builder) sent(d *draft, h *handler, ref, namespace string) (*expr.Instance, error) {
	i, ok := find(b.instances, ref, namespace, func(i *instance, kind string) bool {
		return i.Instance != nil && i.Type().Template == kind
	})
	if !ok {
		return nil, fmt.Errorf("there is no instance %q", ref)
	}
	if i.err != nil {
		return nil, fmt.Errorf("instance %q: %w", ref, i.err)
	}
	if !slices.Contains(h.Info.Templates, i.Type().Template) {
		return nil, fmt.Errorf("adapter %s takes no instances of template %s", h.Info.Name, i.Type().Template)
	}
	d.sends = append(d.sends, send{h, i.Type()})
	return i.Instance, nil
}

// find resolves "name", "namespace/name", "name.kind" and "name.kind.namespace".
func find[T any](in map[key]T, ref, namespace string, is func(T, string) bool) (T, bool) {
	if ns, name, ok := strings.Cut(ref, "/"); ok {
		v, ok := in[key{ns, name}]
		return v, ok
	}
	if v, ok := in[key{namespace, ref}]; ok {
		return v, true
	}
	parts := strings.Split(ref, ".")
	if len(parts) == 3 {
		namespace = parts[2]
	}
	if len(parts) == 2 || len(parts) == 3 {
		for _, name := range []string{parts[0] + "." + parts[1], parts[0]} {
			if v, ok := in[key{namespace, name}]; ok && is(v, parts[1]) {
				return v, true
			}
		}
	}
	var zero T
	return zero, false
}
