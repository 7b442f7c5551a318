package rule

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Names that no one can write: CEL identifiers do not start with '@'.
const (
	firstCall = "@first"
	keyCall   = "@key"
)

// absentError is what reading something absent gives.
type absentError struct{ what string }

func (e *absentError) Error() string { return e.what + " is absent" }

// AbsentAttribute returns the name of the attribute (or key) whose absence made an
// evaluation fail, and whether that was the reason.
func AbsentAttribute(err error) (string, bool) {
	var absent *absentError
	if errors.As(err, &absent) {
		return absent.what, true
	}
	return "", false
}

func absent(what string) ref.Val { return types.WrapErr(&absentError{what}) }

// firstMacro turns first(a, m["k"], c) into @first(a, @first(@key(m, "k"), c)): @key
// fails on an absent key, where indexing reads "".
func firstMacro() cel.Macro {
	expand := func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		if len(args) < 2 {
			return nil, f.NewError(0, "first() takes two arguments or more")
		}
		for i, a := range args {
			if a.Kind() == ast.CallKind && a.AsCall().FunctionName() == operators.Index {
				args[i] = f.NewCall(keyCall, a.AsCall().Args()...)
			}
		}
		out := args[len(args)-1]
		for i := len(args) - 2; i >= 0; i-- {
			out = f.NewCall(firstCall, args[i], out)
		}
		return out, nil
	}
	return cel.GlobalVarArgMacro("first", expand)
}

func functions() []cel.EnvOption {
	t := cel.TypeParamType("T")
	str := cel.StringType
	return []cel.EnvOption{
		cel.Function("match", cel.Overload("match_string_string", []*cel.Type{str, str}, cel.BoolType,
			cel.BinaryBinding(func(s, pattern ref.Val) ref.Val {
				return types.Bool(Glob(string(s.(types.String)), string(pattern.(types.String))))
			}))),
		cel.Function(firstCall, cel.Overload("first_of", []*cel.Type{t, t}, t,
			cel.OverloadIsNonStrict(), cel.BinaryBinding(present))),
		cel.Function(keyCall, cel.Overload("key_of", []*cel.Type{celType(StringMap), str}, str,
			cel.BinaryBinding(key))),
	}
}

// present is the first of two values that is not absent.
func present(a, b ref.Val) ref.Val {
	if err, ok := a.(*types.Err); ok {
		if _, ok := AbsentAttribute(err); ok {
			return b
		}
	}
	return a
}

func key(m, k ref.Val) ref.Val {
	if own, ok := m.(stringMap); ok {
		if s, ok := own.Lookup(string(k.(types.String))); ok {
			return types.String(s)
		}
		return absent(fmt.Sprintf("key %q", k.Value()))
	}
	if v, ok := m.(traits.Mapper).Find(k); ok {
		return v
	}
	return absent(fmt.Sprintf("key %q", k.Value()))
}

// Glob reports whether s matches pattern: "abc*" is a prefix, "*abc" a suffix, all else
// equality. A star elsewhere is a star.
func Glob(s, pattern string) bool {
	if p, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(s, p)
	}
	if p, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(s, p)
	}
	return s == pattern
}
