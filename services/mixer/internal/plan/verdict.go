package plan

import (
	"time"

	"google.golang.org/grpc/codes"
)

// Class selects rules by what becomes of a request when mixer cannot be asked.
type Class int

// The classes.
const (
	All Class = iota
	// Allow are the rules without which a request goes on.
	Allow
	// Deny are the rules without which a request is refused.
	Deny
)

// Verdict is what becomes of a request.
type Verdict struct {
	Code codes.Code
	// Message says why not: "<handler>:<message>", several joined by ", ".
	Message string
	// How long and how often the verdict may be used again; zero: not at all.
	ValidDuration time.Duration
	ValidUseCount int32
}
