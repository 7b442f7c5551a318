package fleet

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Ports is a port or a range of ports, written 15090 or 15020-15029.
type Ports struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// UnmarshalYAML takes a number or a text.
func (p *Ports) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: want a port or a range of ports", node.Line)
	}
	parsed, err := ParsePorts(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	*p = parsed
	return nil
}

// ParsePorts reads "15090" or "15020-15029".
func ParsePorts(text string) (Ports, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	low, err := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	if err != nil {
		return Ports{}, fmt.Errorf("%q is not a port or a range of ports", text)
	}
	high, err := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if err != nil || low == 0 || high < low {
		return Ports{}, fmt.Errorf("%q is not a port or a range of ports", text)
	}
	return Ports{First: uint16(low), Last: uint16(high)}, nil
}
