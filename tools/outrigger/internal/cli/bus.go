package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// restoreTimeout bounds writing everything that pilot kept back to the bus.
const restoreTimeout = 2 * time.Minute

func newBus(s streams) *cobra.Command {
	command := group("bus", "Mend the config-change bus")
	command.AddCommand(newBusRestore(s))
	return command
}

func newBusRestore(s streams) *cobra.Command {
	var c connection
	command := &cobra.Command{
		Use:   "restore",
		Short: "Write what pilot kept back to a bus that came back empty",
		Long: "A bus that comes back empty is refused, and nothing of the mesh changes. This writes the last known good of\n" +
			"pilot into it, under higher revisions, as one change for all readers. A bus that holds anything is refused.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return c.with(command.Context(), s, func(ctx context.Context, conn *grpc.ClientConn) error {
				ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
				defer cancel()
				slow := patience(s, "writing to the bus")
				r, err := pilotv1.NewStatusServiceClient(conn).RestoreBus(ctx, &pilotv1.RestoreBusRequest{})
				slow.done()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(s.out, "%d objects restored; revision %d\n", r.GetObjects(), r.GetRevision())
				return err
			})
		},
	}
	c.flags(command)
	return command
}
