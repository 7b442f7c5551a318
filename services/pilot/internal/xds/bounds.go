package xds

import (
	"fmt"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/internal/fault"
)

// What a proxy says of itself and of its config ends up in the log and in the table that
// everybody reads, so each text has a limit, in bytes.
const (
	// maxRefusal is enough for Envoy's words on several resources, each with its reason.
	maxRefusal = 4 << 10
	// A refused response can hold thousands of resources, and all have its text. Only
	// the first wholeRefusals show it whole, the others what fits into maxShort.
	wholeRefusals = 16
	maxShort      = 256
	// maxField is above Kubernetes' limit for a name, 253.
	maxField = 256
	// maxLabels bounds all labels of a workload together.
	maxLabels = 64 << 10
)

// cut shortens text to limit bytes, between two characters, and says so.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s … (cut, it has %d bytes)", text[:end], len(text))
}

// fits refuses a node of which a field is longer than any that is meant well. The error
// does not repeat the field.
func (n node) fits() error {
	for _, f := range []struct{ name, value string }{
		{"NAME", n.name},
		{"NAMESPACE", n.namespace},
		{"ACCOUNT", n.account},
		{"ROLE", string(n.role)},
		{"LISTEN_ADDRESS", n.listenAddress},
		{"the address in its id", n.address},
	} {
		if len(f.value) > maxField {
			return fault.Invalid.Errorf("node metadata: %s has %d bytes, at most %d may be", f.name, len(f.value), maxField)
		}
	}
	size := 0
	for k, v := range n.labels {
		size += len(k) + len(v)
	}
	if size > maxLabels {
		return fault.Invalid.Errorf("node metadata: LABELS have %d bytes, at most %d may be", size, maxLabels)
	}
	return nil
}
