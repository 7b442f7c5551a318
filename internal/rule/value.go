package rule

import (
	"fmt"
	"net/netip"
	"reflect"
	"sort"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Source gives the values of attributes. Values are string, int64, float64, bool,
// time.Time, netip.Addr, time.Duration, map[string]string or Keyed, as the attribute's
// type says; ok is false for an absent one. An expression reads only what it needs, so
// a Source can see what an answer depended on.
type Source interface {
	Value(attribute string) (value any, ok bool)
}

// Keyed is a string map that sees which of its keys are read.
type Keyed interface {
	Lookup(key string) (string, bool)
	// Keys returns all keys, in any order; the whole map is then read.
	Keys() []string
}

// Map is the plain Source.
type Map map[string]any

// Value implements Source.
func (m Map) Value(attribute string) (any, bool) {
	v, ok := m[attribute]
	return v, ok && v != nil
}

type plainMap map[string]string

func (m plainMap) Lookup(k string) (string, bool) { v, ok := m[k]; return v, ok }

func (m plainMap) Keys() []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// activation is a Source as CEL reads it.
type activation struct{ src Source }

func (a activation) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (a activation) ResolveName(name string) (any, bool) {
	v, ok := a.src.Value(name)
	if !ok {
		return absent(name), true
	}
	return toCEL(name, v), true
}

func toCEL(name string, v any) any {
	switch v := v.(type) {
	case string:
		return types.String(v)
	case int64:
		return types.Int(v)
	case bool:
		return types.Bool(v)
	case map[string]string:
		return stringMap{plainMap(v)}
	case Keyed:
		return stringMap{v}
	case netip.Addr:
		return v.Unmap()
	case float64, time.Time, time.Duration:
		return v
	}
	return types.NewErr("attribute %s has a value of type %T", name, v)
}

// native is the inverse for results.
func native(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return int64(v), nil
	case types.Double:
		return float64(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Timestamp:
		return v.Time, nil
	case types.Duration:
		return v.Duration, nil
	case traits.Mapper:
		return nativeMap(v)
	}
	if a, ok := v.Value().(netip.Addr); ok {
		return a, nil
	}
	return nil, fmt.Errorf("the result is of type %s", v.Type().TypeName())
}

func nativeMap(m traits.Mapper) (any, error) {
	out := map[string]string{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		v, _ := m.Find(k)
		ks, kok := k.(types.String)
		vs, vok := v.(types.String)
		if !kok || !vok {
			return nil, fmt.Errorf("the result has an entry that is not a string")
		}
		out[string(ks)] = string(vs)
	}
	return out, nil
}

// stringMap is a string map in which an absent key reads as "".
type stringMap struct{ Keyed }

func (m stringMap) Type() ref.Type { return types.MapType }
func (m stringMap) Value() any     { return m }

func (m stringMap) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a string map is not a %v", t)
}

func (m stringMap) ConvertToType(t ref.Type) ref.Val {
	if t == types.MapType {
		return m
	}
	return types.NewErr("a string map is not a %s", t.TypeName())
}

func (m stringMap) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Mapper)
	if !ok || o.Size() != m.Size() {
		return types.False
	}
	for _, k := range m.Keys() {
		v, _ := m.Lookup(k)
		if got, ok := o.Find(types.String(k)); !ok || got.Equal(types.String(v)) != types.True {
			return types.False
		}
	}
	return types.True
}

// Find never misses: what is not there is "".
func (m stringMap) Find(k ref.Val) (ref.Val, bool) {
	s, ok := k.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(k), false
	}
	v, _ := m.Lookup(string(s))
	return types.String(v), true
}

func (m stringMap) Get(k ref.Val) ref.Val {
	v, _ := m.Find(k)
	return v
}

func (m stringMap) Contains(k ref.Val) ref.Val {
	s, ok := k.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(k)
	}
	_, found := m.Lookup(string(s))
	return types.Bool(found)
}

func (m stringMap) Size() ref.Val { return types.Int(len(m.Keys())) }

func (m stringMap) Iterator() traits.Iterator {
	keys := m.Keys()
	sort.Strings(keys)
	return types.DefaultTypeAdapter.NativeToValue(keys).(traits.Iterable).Iterator()
}
