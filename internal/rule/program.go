package rule

import (
	"fmt"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

const (
	// worstCost is what the worst case of an expression may cost, in CEL cost units,
	// with values as large as maxString and maxEntries say.
	worstCost = 2_000_000
	// loopCost stops a loop over a map larger than that while it runs.
	loopCost   = 1_000_000
	maxString  = 8192
	maxEntries = 128
)

// Program is a checked expression. It does not change.
type Program struct {
	text       string
	typ        Type
	prg        cel.Program
	attributes []string
	keys       map[string][]string // by attribute, sorted
}

// Text returns the expression as it was compiled.
func (p *Program) Text() string { return p.text }

// Type returns the type of the values; never Any.
func (p *Program) Type() Type { return p.typ }

// Attributes returns the names the expression can read, sorted.
func (p *Program) Attributes() []string { return slices.Clone(p.attributes) }

// Keys returns the constant keys that the expression reads of a map attribute, sorted.
func (p *Program) Keys(attribute string) []string { return slices.Clone(p.keys[attribute]) }

// Eval returns the value over src: of the Go type that Source names for the type,
// map[string]string for maps. Errors: an attribute is absent (see AbsentAttribute), a
// value does not fit, a loop is too long.
func (p *Program) Eval(src Source) (any, error) {
	v, _, err := p.prg.Eval(activation{src})
	if err != nil {
		return nil, fmt.Errorf("evaluate %q: %w", p.text, err)
	}
	out, err := native(v)
	if err != nil {
		return nil, fmt.Errorf("evaluate %q: %w", p.text, err)
	}
	return out, nil
}

// Match is Eval for a Program of type Bool.
func (p *Program) Match(src Source) (bool, error) {
	v, err := p.Eval(src)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("evaluate %q: the result is not a bool", p.text)
	}
	return b, nil
}

// MayConcern reports whether p can be anything but false for a request of which known
// holds. Attributes that are not in known may have any value, or be absent; those that
// are in known with the value nil are absent. An error counts as "may".
func MayConcern(p *Program, known map[string]any) bool {
	v, _, err := p.prg.Eval(partial(known))
	return err != nil || v != types.False
}

// partial is an activation in which what is not known is unknown.
type partial map[string]any

func (p partial) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (p partial) ResolveName(name string) (any, bool) {
	v, ok := p[name]
	switch {
	case !ok:
		return types.NewUnknown(1, types.NewAttributeTrail(name)), true
	case v == nil:
		return absent(name), true
	}
	return toCEL(name, v), true
}

func (l *Language) program(checked *cel.Ast) (*Program, error) {
	estimate, err := l.env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, fmt.Errorf("estimate the cost: %w", err)
	}
	if estimate.Max > worstCost {
		return nil, fmt.Errorf("the expression may cost %d units to evaluate, at most %d are allowed", estimate.Max, worstCost)
	}
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if loops(checked) {
		opts = append(opts, cel.CostLimit(loopCost))
	}
	prg, err := l.env.Program(checked, opts...)
	if err != nil {
		return nil, fmt.Errorf("plan the evaluation: %w", err)
	}
	return &Program{prg: prg, attributes: l.reads(checked), keys: l.readsOf(checked)}, nil
}

func loops(checked *cel.Ast) bool {
	found := false
	ast.PostOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		found = found || e.Kind() == ast.ComprehensionKind
	}))
	return found
}

func (l *Language) reads(checked *cel.Ast) []string {
	names := map[string]bool{}
	for _, r := range checked.NativeRep().ReferenceMap() {
		if _, ok := l.attributes[r.Name]; ok {
			names[r.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// readsOf lists the constant keys by which maps are read: m["k"], "k" in m, and the calls
// that these become.
func (l *Language) readsOf(checked *cel.Ast) map[string][]string {
	refs := checked.NativeRep().ReferenceMap()
	out := map[string][]string{}
	note := func(of ast.Expr, key string) {
		r := refs[of.ID()]
		if r != nil && l.attributes[r.Name] == StringMap && !slices.Contains(out[r.Name], key) {
			out[r.Name] = append(out[r.Name], key)
		}
	}
	ast.PostOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		args := e.AsCall().Args()
		for _, key := range args {
			if text, ok := constant(key); ok {
				for _, of := range args {
					note(of, text)
				}
			}
		}
	}))
	for _, keys := range out {
		slices.Sort(keys)
	}
	return out
}

// constant is the text that e is.
func constant(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok
}

// sizes tells the cost estimate how large values get.
type sizes struct{}

// EstimateSize implements checker.CostEstimator.
func (sizes) EstimateSize(e checker.AstNode) *checker.SizeEstimate {
	if t := e.Type(); t != nil && (t.Kind() == types.MapKind || t.Kind() == types.ListKind) {
		return &checker.SizeEstimate{Max: maxEntries}
	}
	return &checker.SizeEstimate{Max: maxString}
}

// EstimateCallCost implements checker.CostEstimator.
func (sizes) EstimateCallCost(function, _ string, _ *checker.AstNode, _ []checker.AstNode) *checker.CallEstimate {
	if function != keyCall && function != firstCall {
		return nil
	}
	return &checker.CallEstimate{
		CostEstimate: checker.FixedCostEstimate(1),
		ResultSize:   &checker.SizeEstimate{Max: maxString},
	}
}

var _ ref.Val = stringMap{}
