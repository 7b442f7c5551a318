package fleet

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Variables are what ${NAME} stands for in a fleet file.
//
// Everywhere: STATE (the state folder), RUN (its folder of sockets), BIN, ENVOY,
// CONFIG, HUB (the hub's address), TRUST_DOMAIN, PROXY_UID and PROXY_MARK (of
// which the one that does not apply is 0), ADMIN_UID (the uid of whoever runs
// the fleet, as the services see it).
// In a service: NAME, ID (its SPIFFE ID), SERVICE_STATE (its own folder).
// On a host: HOST_NAME, HOST_NS, HOST_IP, HOST_SERVICE, HOST_VERSION,
// HOST_LABELS (key=value, joined by commas), HOST_ACCOUNT, HOST_ID (the SPIFFE
// ID), HOST_PORTS (name:port:protocol, joined by commas), HOST_STATE (the
// sidecar's own folder), HOST_CONFIG (the sidecar's configuration file).
// In the welcome, and nowhere else: ADDRESS_<NAME> for each published name, in
// upper case with _ for -.
type Variables map[string]string

var variable = regexp.MustCompile(`\$\{[^}]*\}?`)

// expand replaces each ${NAME}; an unknown name is a mistake. A single $ stays.
func (v Variables) expand(text string) (string, error) {
	var unknown error
	expanded := variable.ReplaceAllStringFunc(text, func(found string) string {
		name := strings.TrimSuffix(strings.TrimPrefix(found, "${"), "}")
		value, known := v[name]
		if (!known || !strings.HasSuffix(found, "}")) && unknown == nil {
			unknown = fmt.Errorf("%s: unknown variable; known here: %s", found, strings.Join(slices.Sorted(maps.Keys(v)), " "))
		}
		return value
	})
	return expanded, unknown
}

func (v Variables) expandAll(texts []string) ([]string, error) {
	expanded := make([]string, 0, len(texts))
	for _, text := range texts {
		one, err := v.expand(text)
		if err != nil {
			return nil, err
		}
		expanded = append(expanded, one)
	}
	return expanded, nil
}

// environment expands and sorts.
func (v Variables) environment(env map[string]string) ([]string, error) {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		value, err := v.expand(env[name])
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", name, err)
		}
		lines = append(lines, name+"="+value)
	}
	return lines, nil
}

// with returns a copy that has more.
func (v Variables) with(more Variables) Variables {
	joined := maps.Clone(v)
	maps.Copy(joined, more)
	return joined
}
