package list

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	"go.yaml.in/yaml/v3"
)

// maxEntries bounds a list, fetched and overrides together.
const maxEntries = 100_000

// entries is a list that can be looked things up in.
type entries interface {
	// has reports whether v is listed; an error is a v that cannot be.
	has(v string) (bool, error)
}

func parse(kind configv1.ListParams_EntryType, lines []string) (entries, error) {
	if len(lines) > maxEntries {
		return nil, fmt.Errorf("the list has %d entries, at most %d are allowed", len(lines), maxEntries)
	}
	switch kind {
	case configv1.ListParams_STRINGS:
		return exact(lines, func(s string) string { return s }), nil
	case configv1.ListParams_CASE_INSENSITIVE_STRINGS:
		return exact(lines, strings.ToLower), nil
	case configv1.ListParams_IP_ADDRESSES:
		return prefixes(lines)
	case configv1.ListParams_REGEX:
		return patterns(lines)
	}
	return nil, fmt.Errorf("entry_type %d is not known", kind)
}

type texts struct {
	set  map[string]bool
	fold func(string) string
}

func exact(lines []string, fold func(string) string) texts {
	t := texts{map[string]bool{}, fold}
	for _, l := range lines {
		t.set[fold(l)] = true
	}
	return t
}

func (t texts) has(v string) (bool, error) { return t.set[t.fold(v)], nil }

// ranges are addresses by their prefix, so that a look-up costs one step per length.
type ranges struct {
	set     map[netip.Prefix]bool
	lengths map[int]bool
}

func prefixes(lines []string) (entries, error) {
	r := ranges{map[netip.Prefix]bool{}, map[int]bool{}}
	for _, l := range lines {
		p, err := prefix(l)
		if err != nil {
			return nil, err
		}
		r.set[p] = true
		r.lengths[p.Bits()] = true
	}
	return r, nil
}

func prefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("entry %q is neither an address nor a range", s)
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("entry %q is neither an address nor a range", s)
	}
	return p.Masked(), nil
}

func (r ranges) has(v string) (bool, error) {
	a, err := netip.ParseAddr(v)
	if err != nil {
		return false, fmt.Errorf("%s is not an IP address", v)
	}
	a = a.Unmap()
	for bits := range r.lengths {
		if p, err := a.Prefix(bits); err == nil && r.set[p] {
			return true, nil
		}
	}
	return false, nil
}

type regexps []*regexp.Regexp

func patterns(lines []string) (entries, error) {
	out := make(regexps, len(lines))
	for i, l := range lines {
		re, err := regexp.Compile(`^(?:` + l + `)$`)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", l, err)
		}
		out[i] = re
	}
	return out, nil
}

func (r regexps) has(v string) (bool, error) {
	for _, re := range r {
		if re.MatchString(v) {
			return true, nil
		}
	}
	return false, nil
}

// lines reads a fetched list: one entry a line, or for addresses also YAML with the key
// whitelist.
func lines(kind configv1.ListParams_EntryType, body []byte) ([]string, error) {
	if kind == configv1.ListParams_IP_ADDRESSES && bytes.Contains(body, []byte("whitelist:")) {
		var doc struct {
			Whitelist []string `yaml:"whitelist"`
		}
		if err := yaml.Unmarshal(body, &doc); err != nil {
			return nil, fmt.Errorf("the list is not YAML: %w", err)
		}
		return doc.Whitelist, nil
	}
	var out []string
	for l := range strings.Lines(string(body)) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out, nil
}
