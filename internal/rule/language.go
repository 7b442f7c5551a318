package rule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// MaxLength is the greatest length of an expression, in bytes.
const MaxLength = 4096

// maxDepth bounds nesting, so that no text can exhaust the parser's stack.
const maxDepth = 64

// Language is CEL over a vocabulary. It does not change.
type Language struct {
	env        *cel.Env
	attributes map[string]Type
}

// New returns the language over the built-in vocabulary and what manifests declare.
// Errors: see Declared; a built-in attribute declared with another type.
func New(manifests ...*configv1.AttributeManifest) (*Language, error) {
	extra, err := Declared(manifests...)
	if err != nil {
		return nil, err
	}
	attributes, err := vocabulary(extra)
	if err != nil {
		return nil, err
	}
	opts := []cel.EnvOption{
		cel.ClearMacros(),
		cel.Macros(cel.AllMacro, cel.ExistsMacro, cel.ExistsOneMacro, firstMacro()),
		cel.ParserRecursionLimit(maxDepth),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
		ext.Network(),
		ext.Strings(ext.StringsVersion(4)),
	}
	opts = append(opts, functions()...)
	for name, t := range attributes {
		opts = append(opts, cel.Variable(name, celType(t)))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("make the expression language: %w", err)
	}
	return &Language{env: env, attributes: attributes}, nil
}

// base is the language without manifests: a table, made when first needed.
var base = sync.OnceValues(func() (*Language, error) { return New() })

// Compile is Language.Compile over the built-in vocabulary.
func Compile(expr string, want Type) (*Program, error) {
	l, err := base()
	if err != nil {
		return nil, err
	}
	return l.Compile(expr, want)
}

// Translate02 is Language.Translate02 over the built-in vocabulary.
func Translate02(expr string) (string, error) {
	l, err := base()
	if err != nil {
		return "", err
	}
	return l.Translate02(expr)
}

// TypeOf returns the type of an attribute.
func (l *Language) TypeOf(attribute string) (Type, bool) {
	t, ok := l.attributes[attribute]
	return t, ok
}

// Compile checks an expression and makes it ready to run. Its type must be want, or any
// attribute type if want is Any. Where want is Bool an empty expression means true.
// Errors are *Error.
func (l *Language) Compile(expr string, want Type) (*Program, error) {
	if err := sized(expr); err != nil {
		return nil, err
	}
	text := expr
	if text == "" && want == Bool {
		text = "true"
	}
	checked, iss := l.env.Compile(text)
	if iss != nil && iss.Err() != nil {
		return nil, issue(text, iss)
	}
	if err := l.refuse(text, checked); err != nil {
		return nil, err
	}
	got, ok := typeOf(checked.OutputType())
	if !ok {
		return nil, at(text, 0, "the expression is of type %s, want %v", cel.FormatCELType(checked.OutputType()), want)
	}
	if want != Any && got != want {
		return nil, at(text, 0, "the expression is of type %v, want %v", got, want)
	}
	p, err := l.program(checked)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return nil, e
		}
		return nil, at(text, 0, "%v", err)
	}
	p.text, p.typ = expr, got
	return p, nil
}

// issue makes an Error of the checker's first complaint, in the words of this package.
func issue(text string, iss *cel.Issues) error {
	all := iss.Errors()
	if len(all) == 0 {
		return &Error{Line: 1, Column: 1, Message: iss.Err().Error()}
	}
	first := all[0]
	e := &Error{
		Line: max(first.Location.Line(), 1), Column: max(first.Location.Column()+1, 1),
		Message: strings.ReplaceAll(first.Message, firstCall, "first"),
	}
	if strings.HasPrefix(e.Message, "undeclared reference to ") {
		e.Message = unknownName(text, e)
	}
	return e
}

// unknownName says which name at the place of e nobody declared.
func unknownName(text string, e *Error) string {
	lines := strings.Split(text, "\n")
	if e.Line > len(lines) {
		return e.Message
	}
	rest := []rune(lines[e.Line-1])
	rest = rest[min(e.Column-1, len(rest)):]
	if len(rest) > 0 && rest[0] == '(' {
		name, _, _ := strings.Cut(strings.TrimPrefix(e.Message, "undeclared reference to '"), "'")
		return "function " + name + " is not known"
	}
	end := slices.IndexFunc(rest, func(r rune) bool {
		return r != '.' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if end < 0 {
		end = len(rest)
	}
	return "attribute " + string(rest[:end]) + " is not known"
}

func celType(t Type) *cel.Type {
	switch t {
	case Int64:
		return cel.IntType
	case Double:
		return cel.DoubleType
	case Bool:
		return cel.BoolType
	case Timestamp:
		return cel.TimestampType
	case IPAddress:
		return ext.IPType
	case Duration:
		return cel.DurationType
	case StringMap:
		return cel.MapType(cel.StringType, cel.StringType)
	}
	return cel.StringType
}

func typeOf(t *cel.Type) (Type, bool) {
	for _, c := range [...]Type{String, Int64, Double, Bool, Timestamp, IPAddress, Duration, StringMap} {
		if celType(c).IsExactType(t) {
			return c, true
		}
	}
	return Any, false
}
