package rule

import (
	"fmt"
	"net/netip"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// refuse finds what the checker lets pass and evaluation would not: literals that no
// address can be read from, header names that no request has, and map keys written as
// fields, which first cannot see.
func (l *Language) refuse(text string, checked *cel.Ast) error {
	native := checked.NativeRep()
	var found *Error
	report := func(e ast.Expr, format string, args ...any) {
		if found != nil {
			return
		}
		loc := native.SourceInfo().GetStartLocation(e.ID())
		found = &Error{Line: max(loc.Line(), 1), Column: max(loc.Column()+1, 1), Message: fmt.Sprintf(format, args...)}
	}
	ast.PostOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			s := e.AsSelect()
			if native.GetType(s.Operand().ID()).Kind() == types.MapKind {
				report(e, "write [%q] to read a key of a map", s.FieldName())
			}
		case ast.CallKind:
			if err := address(e.AsCall()); err != nil {
				report(e, "%v", err)
			}
			if k, name := headerKey(e.AsCall()); k != nil && name != strings.ToLower(name) {
				report(k, lowerCase, strings.ToLower(name))
			}
		}
	}))
	if found != nil {
		return found
	}
	return nil
}

func address(c ast.CallExpr) error {
	if len(c.Args()) != 1 || c.Args()[0].Kind() != ast.LiteralKind {
		return nil
	}
	s, ok := c.Args()[0].AsLiteral().(types.String)
	if !ok {
		return nil
	}
	var err error
	switch c.FunctionName() {
	case "ip":
		_, err = netip.ParseAddr(string(s))
	case "cidr":
		_, err = netip.ParsePrefix(string(s))
	}
	return err
}

// lowerCase is said of the name of a header that can never be found.
const lowerCase = "header names are in lower case in requests: write it in lower case, %q"

// headers tells whether an attribute is a map with the names of headers as its keys.
func headers(attribute string) bool {
	return attribute == "request.headers" || attribute == "response.headers"
}

// headerKey finds the literal by which a call reads from headers, nil if it does not.
func headerKey(c ast.CallExpr) (key ast.Expr, name string) {
	if len(c.Args()) != 2 {
		return nil, ""
	}
	m, k := c.Args()[0], c.Args()[1]
	switch c.FunctionName() {
	case operators.Index, keyCall:
	case operators.In:
		m, k = k, m
	default:
		return nil, ""
	}
	if !headers(path(m)) || k.Kind() != ast.LiteralKind {
		return nil, ""
	}
	s, ok := k.AsLiteral().(types.String)
	if !ok {
		return nil, ""
	}
	return k, string(s)
}

// path is the dotted name that an expression is, "" if it is none.
func path(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return strings.TrimPrefix(e.AsIdent(), ".")
	case ast.SelectKind:
		if left := path(e.AsSelect().Operand()); left != "" {
			return left + "." + e.AsSelect().FieldName()
		}
	}
	return ""
}
