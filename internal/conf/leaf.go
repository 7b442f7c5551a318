package conf

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// leaf is one setting: a field that holds a value and not more fields.
type leaf struct {
	name, help string
	flag       bool
	v          reflect.Value
}

// leavesOf walks the struct that p points to, in order of its fields.
func leavesOf(p any) []leaf {
	var out []leaf
	walk("", reflect.ValueOf(p).Elem(), &out)
	return out
}

func walk(prefix string, v reflect.Value, out *[]leaf) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "-" || (key == "" && !strings.Contains(opts, "inline")) {
			continue
		}
		name := strings.TrimPrefix(prefix+"."+key, ".")
		if strings.Contains(opts, "inline") {
			name = prefix
		}
		if f.Type.Kind() == reflect.Struct {
			walk(name, v.Field(i), out)
			continue
		}
		l := leaf{name: name, help: f.Tag.Get("help"), v: v.Field(i)}
		l.flag = l.kind() != ""
		*out = append(*out, l)
	}
}

// kind is the flag's type as shown in the help, "" for what only the file can hold.
func (l leaf) kind() string {
	t := l.v.Type()
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return "strings"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Int:
		return "ints"
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String && t.Elem().Kind() == reflect.String:
		return "key=value"
	case t.Kind() == reflect.String, t.Kind() == reflect.Bool, t.Kind() == reflect.Int, t.Kind() == reflect.Float64:
		return t.Kind().String()
	}
	return ""
}

// text is the current value as the help shows it.
func (l leaf) text() string {
	if l.v.IsZero() {
		return ""
	}
	if l.v.Kind() == reflect.Slice {
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(l.v.Interface()), " ", ","), "[]")
	}
	return fmt.Sprint(l.v.Interface())
}

// parse sets the value from the texts given; lists and maps are replaced as a whole.
func (l leaf) parse(values []string) error {
	last := values[len(values)-1]
	switch l.kind() {
	case "string":
		l.v.SetString(last)
	case "bool":
		b, err := strconv.ParseBool(last)
		if err != nil {
			return fmt.Errorf("%q: want true or false", last)
		}
		l.v.SetBool(b)
	case "int":
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil {
			return fmt.Errorf("%q: want a whole number", last)
		}
		l.v.SetInt(n)
	case "float64":
		x, err := strconv.ParseFloat(last, 64)
		if err != nil {
			return fmt.Errorf("%q: want a number", last)
		}
		l.v.SetFloat(x)
	case "duration":
		d, err := time.ParseDuration(last)
		if err != nil {
			return fmt.Errorf("%q: want a duration such as 200ms", last)
		}
		l.v.SetInt(int64(d))
	case "strings":
		l.v.Set(reflect.ValueOf(split(values)))
	case "ints":
		return l.parseInts(split(values))
	case "key=value":
		return l.parseMap(split(values))
	}
	return nil
}

func (l leaf) parseInts(values []string) error {
	ns := make([]int, len(values))
	for i, s := range values {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q: want whole numbers", s)
		}
		ns[i] = n
	}
	l.v.Set(reflect.ValueOf(ns))
	return nil
}

func (l leaf) parseMap(values []string) error {
	m := map[string]string{}
	for _, s := range values {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q: want key=value", s)
		}
		m[k] = v
	}
	l.v.Set(reflect.ValueOf(m))
	return nil
}

func split(values []string) []string {
	var out []string
	for _, v := range values {
		if v != "" {
			out = append(out, strings.Split(v, ",")...)
		}
	}
	return out
}

// recorder is the pflag.Value that notes what was given, to be applied after the file.
type recorder struct {
	name, kind, value string
	into              map[string][]string
}

func (r *recorder) String() string { return r.value }
func (r *recorder) Type() string   { return r.kind }
func (r *recorder) Set(s string) error {
	r.into[r.name] = append(r.into[r.name], s)
	return nil
}
