package cli

import (
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/enter"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/supervise"
)

// hidden returns what the command does when the fleet starts it for itself, and
// nil when a person did. These ways in are no part of the command line, and come
// before it is built: a process to be starts in a few milliseconds.
func hidden(args []string) func() error {
	if len(args) != 1 {
		return nil
	}
	switch args[0] {
	case supervise.Command:
		return supervise.Run
	case supervise.EnterCommand:
		return enter.Become
	default:
		return nil
	}
}
