package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

func newStatus(s streams) *cobra.Command {
	var c connection
	format := "table"
	command := &cobra.Command{
		Use:   "status",
		Short: "Show what is in force where, and what is wrong",
		Long: "Shows the bus, the proxies that are connected and the revision that each has in force, the objects and on\n" +
			"how many of the proxies that use them they are live, what proxies refused, what cannot be brought into the\n" +
			"registry, and files of watched folders that are not taken as they are.",
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return oneOf("output", format, "table", "json", "yaml") },
		RunE: func(command *cobra.Command, _ []string) error {
			return answered(s, format, c.with(command.Context(), s, func(ctx context.Context, conn *grpc.ClientConn) error {
				ctx, cancel := context.WithTimeout(ctx, callTimeout)
				defer cancel()
				slow := patience(s, "waiting for pilot")
				r, err := pilotv1.NewStatusServiceClient(conn).GetStatus(ctx, &pilotv1.GetStatusRequest{})
				slow.done()
				if err != nil {
					return err
				}
				if format != "table" {
					return printMessage(s.out, format, r)
				}
				printMesh(s.out, r)
				return nil
			}))
		},
	}
	outputFlag(command, &format, "table", "json", "yaml")
	c.flags(command)
	return command
}

// printMesh writes the status for a person, what is wrong last.
func printMesh(out io.Writer, r *pilotv1.GetStatusResponse) {
	b := r.GetBus()
	state := "connected"
	if !b.GetConnected() {
		state = "not connected: what is known stays in force, nothing can be written"
	}
	fmt.Fprintf(out, "bus: %s; revision %d, registry %d\n", state, b.GetConfigRevision(), b.GetRegistryRevision())
	fmt.Fprintf(out, "mesh: %d services, %d workloads, %s\n", r.GetServices(), r.GetWorkloads(), proxies(uint32(len(r.GetProxies())))) //nolint:gosec // a count
	proxyTable := &table{head: []string{"PROXY", "ROLE", "ADDRESS", "REVISION", "PROTOCOL", "ENVOY"}}
	objectTable := &table{head: []string{"OBJECT", "REVISION", "LIVE", "ORIGIN"}}
	var wrong []string
	for _, p := range r.GetProxies() {
		proxyTable.add(p.GetName(), p.GetRole(), p.GetAddress(), fmt.Sprint(p.GetAcknowledged()), p.GetProtocol(), p.GetEnvoyVersion())
		for _, x := range p.GetRefused() {
			wrong = append(wrong, fmt.Sprintf("%s refuses %s: %s", x.GetProxy(), x.GetResource(), x.GetMessage()))
		}
	}
	for _, o := range r.GetObjects() {
		objectTable.add(refName(o.GetRef()), fmt.Sprint(o.GetRevision()),
			fmt.Sprintf("%d of %d", o.GetLive(), o.GetInterested()), origin(o.GetOrigin()))
	}
	for _, t := range []*table{proxyTable, objectTable} {
		if len(t.rows) > 0 {
			fmt.Fprintln(out)
			t.print(out)
		}
	}
	if b.GetRefused() != "" {
		wrong = append(wrong, "the bus is refused: "+b.GetRefused())
	}
	for _, p := range append(r.GetRegistryProblems(), r.GetFileProblems()...) {
		wrong = append(wrong, problemLine(p))
	}
	if len(wrong) > 0 {
		fmt.Fprintln(out, "\nwrong:")
	}
	for _, line := range wrong {
		fmt.Fprintln(out, "  "+visibleLines(line))
	}
}
