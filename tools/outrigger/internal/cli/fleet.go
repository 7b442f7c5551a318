package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/front"
)

func newFleet(s streams) *cobra.Command {
	var state string
	command := group("fleet", "Look at the mesh that runs on this machine, and at single processes of it")
	stateFlag(command.PersistentFlags(), &state, "state folder of the fleet")
	command.AddCommand(newFleetStatus(s, &state), newFleetSignal(&state))
	for op, short := range map[string]string{
		"start":   "Start a process or host that was stopped or held",
		"stop":    "Stop a process or host, until it is started again",
		"restart": "Stop a process or host and start it again",
	} {
		command.AddCommand(&cobra.Command{
			Use: op + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: completeProcesses(&state),
			RunE: func(command *cobra.Command, args []string) error {
				_, err := front.Ask(command.Context(), state, fleet.Request{Op: op, Name: args[0]})
				return err
			},
		})
	}
	return command
}

func newFleetSignal(state *string) *cobra.Command {
	return &cobra.Command{
		Use: "signal NAME SIGNAL", Short: "Send a process a signal, such as KILL", Args: cobra.ExactArgs(2),
		ValidArgsFunction: completeProcesses(state, signals...),
		RunE: func(command *cobra.Command, args []string) error {
			name := strings.TrimPrefix(strings.ToUpper(args[1]), "SIG")
			_, err := front.Ask(command.Context(), *state, fleet.Request{Op: "signal", Name: args[0], Signal: name})
			return err
		},
	}
}

func newFleetStatus(s streams, state *string) *cobra.Command {
	var format string
	command := &cobra.Command{
		Use: "status", Short: "Show every process and how it is", Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error { return oneOf("output", format, "table", "json", "yaml") },
		RunE: func(command *cobra.Command, _ []string) error {
			return fleetStatus(command.Context(), s, *state, format)
		},
	}
	outputFlag(command, &format, "table", "json", "yaml")
	return command
}

func fleetStatus(ctx context.Context, s streams, state, format string) error {
	answer, err := front.Ask(ctx, state, fleet.Request{Op: "status"})
	if err != nil {
		return err
	}
	found, err := front.Ask(ctx, state, fleet.Request{Op: "members"})
	if err != nil {
		return err
	}
	answer.Members = found.Members
	if format == "table" {
		return printStatus(s.out, answer)
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return printText(s.out, format, text)
}

func printStatus(out io.Writer, answer fleet.Response) error {
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "PROCESS\tSTATE\tSINCE\tPID\tRESTARTS\tADDRESS\tDETAIL")
	known := map[int]bool{answer.Snapshot.Supervisor: true}
	for _, row := range answer.Snapshot.Processes {
		known[row.PID] = true
		since := time.Since(row.Since).Round(time.Second)
		fmt.Fprintf(table, "%s\t%s\t%v\t%d\t%d\t%v\t%s\n", row.Name, row.Phase, since, row.PID, row.Restarts, row.Address, row.Detail)
	}
	for _, m := range answer.Members {
		if !known[m.PID] {
			fmt.Fprintf(table, "%s\trunning\t\t%d\t\t\tstarted by %d on %s\n", m.Program, m.PID, m.Parent, place(m.Host))
		}
	}
	return table.Flush()
}

func place(host string) string {
	if host == "" {
		return "the hub"
	}
	return host
}
