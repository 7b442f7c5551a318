package cli

import (
	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/front"
)

func newDown(s streams) *cobra.Command {
	var state string
	command := &cobra.Command{
		Use:   "down",
		Short: "Stop the mesh that runs on this machine",
		Long:  "Stops the fleet of a state folder and returns when nothing is left of it. No fleet there is no error.",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return front.Down(command.Context(), state, s.out)
		},
	}
	stateFlag(command.Flags(), &state, "state folder of the fleet")
	return command
}
