package bus

import (
	"errors"
	"fmt"
	"strings"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
)

// Key names one object of a bucket.
type Key struct {
	Kind, Namespace, Name string
}

// KeyOf is the key under which an object is kept.
func KeyOf(o *configv1.Object) Key {
	m := o.GetMetadata()
	return Key{Kind: o.GetKind(), Namespace: m.GetNamespace(), Name: m.GetName()}
}

// String is the form for people.
func (k Key) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// maxPath bounds an encoded key; NATS has a limit of 4 KiB for a whole line.
const maxPath = 1024

// Path is the key as three tokens joined by dots, made only of letters, digits, "-",
// "_" and "=", so that it is a valid NATS subject and a valid name in a KV bucket.
// Any other byte is written "=XX"; an empty part is a single "=".
func (k Key) Path() string {
	var b strings.Builder
	for i, part := range [...]string{k.Kind, k.Namespace, k.Name} {
		if i > 0 {
			b.WriteByte('.')
		}
		if part == "" {
			b.WriteByte('=')
		}
		for j := range len(part) {
			if c := part[j]; plain(c) {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "=%02X", c)
			}
		}
	}
	return b.String()
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// ParsePath is the inverse of Path. It accepts nothing that Path does not make.
func ParsePath(path string) (Key, error) {
	tokens := strings.Split(path, ".")
	if len(tokens) != 3 {
		return Key{}, fmt.Errorf("bus key %q: %d parts, want 3", path, len(tokens))
	}
	var parts [3]string
	for i, t := range tokens {
		p, err := unescape(t)
		if err != nil {
			return Key{}, fmt.Errorf("bus key %q: %w", path, err)
		}
		parts[i] = p
	}
	k := Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	if k.Path() != path {
		return Key{}, fmt.Errorf("bus key %q: not in the one accepted spelling", path)
	}
	return k, nil
}

var errEscape = errors.New(`"=" is not followed by two hexadecimal digits`)

func unescape(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	out := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			out = append(out, token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", errEscape
		}
		hi, lo := hexDigit(token[i+1]), hexDigit(token[i+2])
		if hi < 0 || lo < 0 {
			return "", errEscape
		}
		out = append(out, byte(hi<<4|lo))
		i += 2
	}
	return string(out), nil
}

func hexDigit(c byte) int { return strings.IndexByte("0123456789ABCDEF", c) }
