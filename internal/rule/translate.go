package rule

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"strings"
)

// Translate02 turns an expression of config.istio.io/v1alpha2 into CEL of the same
// meaning, checked against the vocabulary. What that language does not have, or what has
// another type than its place wants, is refused; errors are *Error with the position in
// expr. An empty expression stays empty.
//
// What differs, knowingly: && and || absorb an error on either side when the other side
// decides, where Istio's engine failed the whole call; a literal that looks like a
// duration ("10s", "0") is a string where it meets a string, where Istio refused it;
// "" that is present counts as present for |, as in Istio's default engine.
//
// Source: the expression language of Istio 0.2, whose grammar and precedence are those
// of Go's expressions.
func (l *Language) Translate02(expr string) (string, error) {
	if err := sized(expr); err != nil {
		return "", err
	}
	if strings.TrimSpace(expr) == "" {
		return "", nil
	}
	if deep(expr) {
		return "", at(expr, 0, "the expression is nested more than %d deep", maxDepth)
	}
	// ParseExpr wraps the text in nothing, so a position is 1 + the byte offset.
	tree, err := parser.ParseExpr(expr)
	if err != nil {
		return "", syntax(expr, err)
	}
	t := translator{lang: l, text: expr}
	out, err := t.expr(tree)
	if err != nil {
		return "", err
	}
	return out.cel, nil
}

// deep reports whether brackets nest deeper than any real expression does.
func deep(expr string) bool {
	depth, most := 0, 0
	for _, r := range expr {
		switch r {
		case '(', '[', '{':
			depth++
			most = max(most, depth)
		case ')', ']', '}':
			depth--
		}
	}
	return most > maxDepth
}

func syntax(expr string, err error) error {
	var list scanner.ErrorList
	if errors.As(err, &list) && len(list) > 0 {
		return at(expr, list[0].Pos.Offset, "%s", list[0].Msg)
	}
	return at(expr, 0, "%v", err)
}

// term is a translated part.
type term struct {
	cel string
	typ Type
	// text is the literal as a string, if the literal could be a duration or a string.
	text string
	// level is how tightly the outermost CEL operator binds.
	level level
}

type level int

const (
	levelOr level = iota
	levelAnd
	levelRelation
	levelPrimary
)

// within returns the text for a place that binds as tightly as want.
func (t term) within(want level) string {
	if t.level < want {
		return "(" + t.cel + ")"
	}
	return t.cel
}

type translator struct {
	lang *Language
	text string
}

func (t translator) refuse(n ast.Node, format string, args ...any) error {
	return at(t.text, int(n.Pos())-1, format, args...)
}

func (t translator) expr(n ast.Expr) (term, error) {
	switch n := n.(type) {
	case *ast.ParenExpr:
		return t.expr(n.X)
	case *ast.BasicLit:
		return t.literal(n)
	case *ast.Ident, *ast.SelectorExpr:
		return t.attribute(n)
	case *ast.IndexExpr:
		m, k, err := t.index(n)
		return term{cel: m + "[" + k + "]", typ: String, level: levelPrimary}, err
	case *ast.CallExpr:
		return t.call(n)
	case *ast.BinaryExpr:
		return t.binary(n)
	}
	return term{}, t.refuse(n, "this construct is not part of the expression language")
}

func (t translator) binary(n *ast.BinaryExpr) (term, error) {
	switch n.Op {
	case token.EQL, token.NEQ:
		return t.equality(n)
	case token.LAND:
		return t.logic(n, " && ", levelAnd)
	case token.LOR:
		return t.logic(n, " || ", levelOr)
	case token.OR:
		return t.first(n)
	}
	return term{}, at(t.text, int(n.OpPos)-1, "operator %s is not part of the expression language", n.Op)
}

func (t translator) logic(n *ast.BinaryExpr, op string, lv level) (term, error) {
	x, err := t.typed(n.X, Bool)
	if err != nil {
		return term{}, err
	}
	y, err := t.typed(n.Y, Bool)
	if err != nil {
		return term{}, err
	}
	return term{cel: x.within(lv) + op + y.within(lv), typ: Bool, level: lv}, nil
}

func (t translator) equality(n *ast.BinaryExpr) (term, error) {
	x, err := t.expr(n.X)
	if err != nil {
		return term{}, err
	}
	y, err := t.expr(n.Y)
	if err != nil {
		return term{}, err
	}
	x, y = meet(x, y)
	if x.typ != y.typ {
		return term{}, at(t.text, int(n.OpPos)-1, "%s compares %v with %v", n.Op, x.typ, y.typ)
	}
	if x.typ == Duration || x.typ == StringMap {
		return term{}, at(t.text, int(n.OpPos)-1, "%s is not defined for %v", n.Op, x.typ)
	}
	const tight = levelPrimary
	return term{cel: x.within(tight) + " " + n.Op.String() + " " + y.within(tight), typ: Bool, level: levelRelation}, nil
}

// first translates a chain of |. Its operands may be absent: that is what it is for.
func (t translator) first(n *ast.BinaryExpr) (term, error) {
	operands := chain(n, nil)
	terms := make([]term, len(operands))
	for i, o := range operands {
		if err := t.mayFallThrough(o); err != nil {
			return term{}, err
		}
		var err error
		if terms[i], err = t.expr(o); err != nil {
			return term{}, err
		}
	}
	texts := make([]string, len(terms))
	want := terms[0]
	for _, other := range terms[1:] {
		want, _ = meet(want, other)
	}
	for i := range terms {
		terms[i], _ = meet(terms[i], want)
		if terms[i].typ != want.typ {
			return term{}, t.refuse(operands[i], "| joins %v with %v", want.typ, terms[i].typ)
		}
		texts[i] = terms[i].cel
	}
	return term{cel: "first(" + strings.Join(texts, ", ") + ")", typ: want.typ, level: levelPrimary}, nil
}

// chain flattens a | (b | c) in order.
func chain(n ast.Expr, into []ast.Expr) []ast.Expr {
	n = ast.Unparen(n)
	if b, ok := n.(*ast.BinaryExpr); ok && b.Op == token.OR {
		return chain(b.Y, chain(b.X, into))
	}
	return append(into, n)
}

func (t translator) mayFallThrough(n ast.Expr) error {
	if b, ok := n.(*ast.BinaryExpr); ok {
		return t.refuse(n, "%s is not supported under |", b.Op)
	}
	return nil
}

// meet lets a literal that could be a string be one where the other side is one.
func meet(x, y term) (term, term) {
	if x.text != "" && y.typ == String {
		x = quoted(x.text)
	}
	if y.text != "" && x.typ == String {
		y = quoted(y.text)
	}
	return x, y
}

func (t translator) typed(n ast.Expr, want Type) (term, error) {
	x, err := t.expr(n)
	if err != nil {
		return term{}, err
	}
	if want == String && x.text != "" {
		x = quoted(x.text)
	}
	if x.typ != want {
		return term{}, t.refuse(n, "%v, want %v", x.typ, want)
	}
	return x, nil
}
