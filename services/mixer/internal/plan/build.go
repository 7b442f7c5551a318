package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/rule"
	"github.com/outrigger-mesh/outrigger/services/mixer/adapter"
	"github.com/outrigger-mesh/outrigger/services/mixer/internal/expr"
	"github.com/outrigger-mesh/outrigger/services/mixer/template"
)

// Input is what a Plan is made of.
type Input struct {
	Objects  []*configv1.Object
	Adapters []adapter.Info
	// Root are the namespaces whose rules concern every service.
	Root     []string
	Revision uint64
}

// Build makes a Plan. It does not fail: an object that is wrong does not act, what
// needs it does not act either, and Status says why.
func Build(in Input) *Plan {
	b := builder{
		plan:      &Plan{Revision: in.Revision, root: map[string]bool{}},
		adapters:  map[string]adapter.Info{},
		handlers:  map[key]*handler{},
		instances: map[key]*instance{},
	}
	for _, ns := range in.Root {
		b.plan.root[ns] = true
	}
	for _, a := range in.Adapters {
		b.adapters[a.Name] = a
	}
	objects := slices.SortedFunc(slices.Values(in.Objects), func(x, y *configv1.Object) int {
		return cmp.Compare(keyOf(x).String(), keyOf(y).String())
	})
	b.vocabulary(objects)
	for _, o := range objects {
		switch {
		case o.GetHandler() != nil:
			b.handlers[keyOf(o)] = b.handler(o)
		case o.GetInstance() != nil:
			b.instances[keyOf(o)] = b.instance(o)
		}
	}
	var rules []*draft
	for _, o := range objects {
		if o.GetRule() != nil {
			rules = append(rules, b.rule(o))
		}
	}
	b.settle(rules)
	return b.plan
}

type key struct{ namespace, name string }

func keyOf(o *configv1.Object) key {
	return key{o.GetMetadata().GetNamespace(), o.GetMetadata().GetName()}
}

func (k key) String() string { return k.namespace + "/" + k.name }

func (k key) dotted() string { return k.name + "." + k.namespace }

type handler struct {
	*Handler
	key key
	err error
	// used are the instances that rules send, by full name.
	used map[string]template.Type
}

type instance struct {
	*expr.Instance
	err error
}

type draft struct {
	*Rule
	err   error
	uses  []*handler
	sends []send
}

type send struct {
	to  *handler
	typ template.Type
}

type builder struct {
	plan      *Plan
	lang      *rule.Language
	adapters  map[string]adapter.Info
	handlers  map[key]*handler
	instances map[key]*instance
}

// vocabulary makes the language of all manifests, without those that contradict the
// built-in attributes or an earlier manifest.
func (b *builder) vocabulary(objects []*configv1.Object) {
	var taken []*configv1.AttributeManifest
	for _, o := range objects {
		m := o.GetAttributeManifest()
		if m == nil {
			continue
		}
		if _, err := rule.Declared(append(slices.Clone(taken), m)...); err != nil {
			b.problem("AttributeManifest", o, err)
			continue
		}
		if _, err := rule.New(m); err != nil {
			b.problem("AttributeManifest", o, err)
			continue
		}
		taken = append(taken, m)
	}
	lang, err := rule.New(taken...)
	if err != nil {
		b.plan.Problems = append(b.plan.Problems, err.Error())
	}
	b.lang = lang
}

func (b *builder) problem(kind string, o *configv1.Object, err error) {
	b.plan.Problems = append(b.plan.Problems, fmt.Sprintf("%s %s: %v", kind, keyOf(o), err))
}

func (b *builder) handler(o *configv1.Object) *handler {
	spec, k := o.GetHandler(), keyOf(o)
	h := &handler{Handler: &Handler{Object: k.dotted()}, key: k, used: map[string]template.Type{}}
	h.Name = fullName(k, spec.GetAdapter())
	info, ok := b.adapters[spec.GetAdapter()]
	if !ok {
		h.err = fmt.Errorf("adapter %q is not known", spec.GetAdapter())
		h.Info.Name = spec.GetAdapter()
		return h
	}
	h.Info = info
	h.Params, h.err = expr.Decode(spec.GetParams(), info.Params)
	return h
}

// fullName is "name.kind.namespace"; a name that says its kind already, as those from
// documents of config.istio.io do, says it once.
func fullName(k key, kind string) string {
	if strings.HasSuffix(k.name, "."+kind) || kind == "list" && strings.HasSuffix(k.name, ".listchecker") {
		return k.dotted()
	}
	return k.name + "." + kind + "." + k.namespace
}

func (b *builder) instance(o *configv1.Object) *instance {
	k, spec := keyOf(o), o.GetInstance()
	if b.lang == nil {
		return &instance{err: errors.New("there is no expression language")}
	}
	i, err := expr.Compile(b.lang, fullName(k, spec.GetTemplate()), spec.GetTemplate(), spec.GetParams())
	if err != nil {
		b.problem("Instance", o, err)
	}
	return &instance{i, err}
}

// settle checks every handler against what is sent to it, and keeps the rules of which
// everything is right.
func (b *builder) settle(drafts []*draft) {
	for _, d := range drafts {
		for _, s := range d.sends {
			if d.err == nil {
				s.to.used[s.typ.Name] = s.typ
			}
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(b.handlers), func(x, y key) int { return cmp.Compare(x.String(), y.String()) }) {
		h := b.handlers[k]
		if h.err == nil {
			h.err = h.validate()
		}
		b.plan.HandlerStatus = append(b.plan.HandlerStatus, Status{Name: h.Object, Adapter: h.Info.Name, Err: h.err})
	}
	live := map[*handler]bool{}
	for _, d := range drafts {
		for _, h := range d.uses {
			if d.err == nil && h.err != nil {
				d.err = fmt.Errorf("handler %s: %w", h.Object, h.err)
			}
		}
		b.plan.RuleStatus = append(b.plan.RuleStatus, Status{Name: d.Name, Err: d.err})
		if d.err != nil {
			continue
		}
		b.plan.Rules = append(b.plan.Rules, d.Rule)
		for _, h := range d.uses {
			if !live[h] {
				live[h] = true
				b.plan.Handlers = append(b.plan.Handlers, h.Handler)
			}
		}
	}
	slices.SortFunc(b.plan.Handlers, func(x, y *Handler) int { return cmp.Compare(x.Name, y.Name) })
}

func (h *handler) validate() error {
	h.Env = adapter.Env{Handler: h.Name, Namespace: h.key.namespace}
	for _, name := range slices.Sorted(maps.Keys(h.used)) {
		h.Env.Instances = append(h.Env.Instances, h.used[name])
	}
	params, err := proto.MarshalOptions{Deterministic: true}.Marshal(h.Params)
	if err != nil {
		return err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00%s\x00%v\x00", h.Name, params, h.Env.Instances)
	h.Key = hex.EncodeToString(sum.Sum(nil))
	if h.Info.Validate == nil {
		return nil
	}
	return h.Info.Validate(h.Params, h.Env)
}
