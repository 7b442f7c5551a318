package expr

import (
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/rule"
)

// compiler keeps the first error, so that a template's fields read as a list.
type compiler struct {
	lang *rule.Language
	err  error
}

// field is one expression; the zero field computes zero values.
type field struct {
	name    string
	key     string
	program *rule.Program
}

type fields []field

func (c *compiler) field(name, text string, want rule.Type) field {
	if c.err != nil {
		return field{}
	}
	if text == "" {
		c.err = fmt.Errorf("params.%s: an expression is wanted", name)
		return field{}
	}
	return c.optional(name, text, want)
}

func (c *compiler) optional(name, text string, want rule.Type) field {
	if c.err != nil || text == "" {
		return field{}
	}
	p, err := c.lang.Compile(text, want)
	if err != nil {
		c.err = fmt.Errorf("params.%s: %w", name, err)
		return field{}
	}
	return field{name: name, program: p}
}

func (c *compiler) fields(name string, texts map[string]string) fields {
	var out fields
	for _, key := range sorted(texts) {
		f := c.field(fmt.Sprintf("%s[%q]", name, key), texts[key], rule.Any)
		f.key = key
		out = append(out, f)
	}
	return out
}

func (f field) value(src rule.Source) (any, error) {
	v, err := f.program.Eval(src)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return v, nil
}

func (f field) text(src rule.Source) (string, error) {
	if f.program == nil {
		return "", nil
	}
	v, err := f.value(src)
	s, _ := v.(string)
	return s, err
}

// time computes a timestamp: the request's own where there is no expression.
func (f field) time(src rule.Source) (time.Time, error) {
	if f.program == nil {
		return sent(src), nil
	}
	v, err := f.value(src)
	t, _ := v.(time.Time)
	return t, err
}

func (f fields) values(src rule.Source) (map[string]any, error) {
	out := make(map[string]any, len(f))
	for _, one := range f {
		v, err := one.value(src)
		if err != nil {
			return nil, err
		}
		out[one.key] = v
	}
	return out, nil
}
