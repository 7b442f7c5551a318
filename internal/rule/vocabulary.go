package rule

import (
	"fmt"
	"maps"
	"regexp"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Type is the type of an attribute or of an expression.
type Type int

// The types, in the order of ValueType. E-mail addresses, URIs and DNS names are
// Strings. Any, the zero Type, is for Compile alone: any of the others will do.
const (
	Any Type = iota
	String
	Int64
	Double
	Bool
	Timestamp
	IPAddress
	Duration
	StringMap
)

// String returns the name that messages show.
func (t Type) String() string {
	names := [...]string{"any", "string", "int64", "double", "bool", "timestamp", "ip_address", "duration", "string_map"}
	if t < 0 || int(t) >= len(names) {
		return fmt.Sprintf("Type(%d)", int(t))
	}
	return names[t]
}

// TypeOf returns the type that a manifest's value type stands for.
func TypeOf(v configv1.ValueType) (Type, error) {
	switch v {
	case configv1.ValueType_STRING, configv1.ValueType_VALUE_TYPE_UNSPECIFIED,
		configv1.ValueType_EMAIL_ADDRESS, configv1.ValueType_URI, configv1.ValueType_DNS_NAME:
		return String, nil
	case configv1.ValueType_INT64:
		return Int64, nil
	case configv1.ValueType_DOUBLE:
		return Double, nil
	case configv1.ValueType_BOOL:
		return Bool, nil
	case configv1.ValueType_TIMESTAMP:
		return Timestamp, nil
	case configv1.ValueType_IP_ADDRESS:
		return IPAddress, nil
	case configv1.ValueType_DURATION:
		return Duration, nil
	case configv1.ValueType_STRING_MAP:
		return StringMap, nil
	}
	return Any, fmt.Errorf("value type %d is not known", v)
}

// Attributes returns the built-in vocabulary, name to type; the caller owns the map.
//
// Source: the attribute vocabulary of Istio 0.2 and 0.3 with the ports, which were sent
// but never declared there.
func Attributes() map[string]Type {
	m := map[string]Type{
		"source.ip": IPAddress, "source.port": Int64, "source.labels": StringMap,
		"destination.ip": IPAddress, "destination.port": Int64, "destination.labels": StringMap,
		"origin.ip": IPAddress,

		"request.headers": StringMap, "request.size": Int64, "request.time": Timestamp,
		"response.headers": StringMap, "response.size": Int64, "response.time": Timestamp,
		"response.code": Int64, "response.duration": Duration,

		"connection.received.bytes": Int64, "connection.received.bytes_total": Int64,
		"connection.sent.bytes": Int64, "connection.sent.bytes_total": Int64,
		"connection.duration": Duration,

		"context.time": Timestamp, "context.timestamp": Timestamp,
		"check.status": Int64, "quota.amount": Int64,
	}
	for _, name := range [...]string{
		"source.uid", "source.user", "source.service", "source.name", "source.namespace",
		"source.domain", "source.serviceAccount",
		"destination.uid", "destination.user", "destination.service", "destination.name",
		"destination.namespace", "destination.domain", "destination.serviceAccount",
		"origin.uid", "origin.user",
		"request.id", "request.host", "request.method", "request.path", "request.reason",
		"request.referer", "request.scheme", "request.useragent", "request.api_key",
		"request.auth.principal", "request.auth.audiences", "request.auth.presenter",
		"connection.id", "context.protocol", "quota.name",
		"api.service", "api.version", "api.operation", "api.protocol",
	} {
		m[name] = String
	}
	return m
}

// Declared returns what manifests declare. Errors: a name that is no attribute name, a
// type that is not known, one name declared with two types.
func Declared(manifests ...*configv1.AttributeManifest) (map[string]Type, error) {
	name := regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*([.-][a-zA-Z_][a-zA-Z0-9_]*)*$`)
	out := map[string]Type{}
	for _, m := range manifests {
		for k, info := range m.GetAttributes() {
			if !name.MatchString(k) {
				return nil, fmt.Errorf("attribute %q: want words joined by '.' or '-'", k)
			}
			t, err := TypeOf(info.GetValueType())
			if err != nil {
				return nil, fmt.Errorf("attribute %q: %w", k, err)
			}
			if err := declare(out, k, t); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func declare(into map[string]Type, name string, t Type) error {
	if old, ok := into[name]; ok && old != t {
		return fmt.Errorf("attribute %q: declared as %v and as %v", name, old, t)
	}
	into[name] = t
	return nil
}

func vocabulary(extra map[string]Type) (map[string]Type, error) {
	all := maps.Clone(Attributes())
	for name, t := range extra {
		if err := declare(all, name, t); err != nil {
			return nil, err
		}
	}
	return all, nil
}
