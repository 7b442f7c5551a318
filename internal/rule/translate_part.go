package rule

import (
	"go/ast"
	"go/token"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// attribute translates a dotted name: an attribute, or a boolean literal in any case.
func (t translator) attribute(n ast.Expr) (term, error) {
	if id, ok := n.(*ast.Ident); ok {
		switch strings.ToLower(id.Name) {
		case "true", "false":
			return term{cel: strings.ToLower(id.Name), typ: Bool, level: levelPrimary}, nil
		}
	}
	name, ok := dotted(n)
	if !ok {
		return term{}, t.refuse(n, "a field can be read from an attribute name only")
	}
	typ, ok := t.lang.attributes[name]
	if !ok {
		return term{}, t.refuse(n, "attribute %s is not known", name)
	}
	return term{cel: name, typ: typ, level: levelPrimary}, nil
}

func dotted(n ast.Expr) (string, bool) {
	switch n := n.(type) {
	case *ast.Ident:
		return n.Name, true
	case *ast.SelectorExpr:
		left, ok := dotted(n.X)
		return left + "." + n.Sel.Name, ok
	}
	return "", false
}

func (t translator) index(n *ast.IndexExpr) (m, k string, err error) {
	left, err := t.typed(n.X, StringMap)
	if err != nil {
		return "", "", err
	}
	key, err := t.typed(n.Index, String)
	if err != nil {
		return "", "", err
	}
	if name, err := strconv.Unquote(key.cel); err == nil && headers(left.cel) && name != strings.ToLower(name) {
		return "", "", t.refuse(n.Index, lowerCase, strings.ToLower(name))
	}
	return left.within(levelPrimary), key.cel, nil
}

func (t translator) literal(n *ast.BasicLit) (term, error) {
	switch n.Kind {
	case token.INT:
		v, err := strconv.ParseInt(n.Value, 0, 64)
		if err != nil {
			return term{}, t.refuse(n, "%s is not a 64-bit integer", n.Value)
		}
		return term{cel: strconv.FormatInt(v, 10), typ: Int64, level: levelPrimary}, nil
	case token.FLOAT:
		v, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			return term{}, t.refuse(n, "%s is not a number", n.Value)
		}
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return term{cel: s, typ: Double, level: levelPrimary}, nil
	case token.STRING:
		return t.text02(n)
	}
	return term{}, t.refuse(n, "literal %s is not part of the expression language", n.Value)
}

func (t translator) text02(n *ast.BasicLit) (term, error) {
	s, err := strconv.Unquote(n.Value)
	if err != nil || !utf8.ValidString(s) {
		return term{}, t.refuse(n, "%s is not a string", n.Value)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return quoted(s), nil
	}
	// Whole seconds and nanoseconds, as CEL's duration() reads them.
	return term{cel: "duration(" + strconv.Quote(d.String()) + ")", typ: Duration, text: s, level: levelPrimary}, nil
}

func quoted(s string) term {
	return term{cel: strconv.Quote(s), typ: String, level: levelPrimary}
}

func (t translator) call(n *ast.CallExpr) (term, error) {
	fn, ok := n.Fun.(*ast.Ident)
	if !ok {
		return term{}, t.refuse(n, "only ip, match and timestamp can be called")
	}
	var want int
	var typ Type
	switch fn.Name {
	case "ip":
		want, typ = 1, IPAddress
	case "timestamp":
		want, typ = 1, Timestamp
	case "match":
		want, typ = 2, Bool
	default:
		return term{}, t.refuse(n, "function %s is not known; there are ip, match and timestamp", fn.Name)
	}
	if len(n.Args) != want || n.Ellipsis.IsValid() {
		return term{}, t.refuse(n, "%s takes %d argument(s), not %d", fn.Name, want, len(n.Args))
	}
	args := make([]string, want)
	for i, a := range n.Args {
		x, err := t.typed(a, String)
		if err != nil {
			return term{}, err
		}
		args[i] = x.cel
	}
	if err := t.readable(fn.Name, n.Args[0]); err != nil {
		return term{}, err
	}
	return term{cel: fn.Name + "(" + strings.Join(args, ", ") + ")", typ: typ, level: levelPrimary}, nil
}

// readable checks literal arguments, which can never become right later.
func (t translator) readable(fn string, arg ast.Expr) error {
	lit, ok := ast.Unparen(arg).(*ast.BasicLit)
	if !ok {
		return nil
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return t.refuse(arg, "%s is not a string", lit.Value)
	}
	switch fn {
	case "ip":
		if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" || a.Is4In6() {
			return t.refuse(arg, "%q is not an IP address", s)
		}
	case "timestamp":
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			return t.refuse(arg, "%q is not an RFC 3339 time", s)
		}
	}
	return nil
}
