package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet/front"
)

// completeTimeout is how long a shell waits for names.
const completeTimeout = 2 * time.Second

// completeNames offers kinds, and then the names of objects of that kind that are not there
// yet. more are words that stand in the place of a kind.
func completeNames(c *connection, namespace *string, more ...string) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return startingWith(begun, append(decode.Kinds(), more...)), cobra.ShellCompDirectiveNoFileComp
		}
		names := slices.DeleteFunc(c.names(command.Context(), args[0], *namespace), func(name string) bool { return slices.Contains(args[1:], name) })
		return startingWith(begun, names), cobra.ShellCompDirectiveNoFileComp
	}
}

// outputFlag adds -o with its values, of which the first is the default.
func outputFlag(command *cobra.Command, to *string, values ...string) {
	last := len(values) - 1
	command.Flags().StringVarP(to, "output", "o", values[0], strings.Join(values[:last], ", ")+" or "+values[last])
	complete := func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return startingWith(begun, values), cobra.ShellCompDirectiveNoFileComp
	}
	if err := command.RegisterFlagCompletionFunc("output", complete); err != nil {
		panic(err) // the flag is the one added above
	}
}

// signals are those that `fleet signal` offers; it takes others as well.
var signals = []string{"CONT", "HUP", "INT", "KILL", "QUIT", "STOP", "TERM", "USR1", "USR2"}

// completeProcesses offers the names of the fleet's processes for the first argument, and
// then words. Without such words it is for what also takes a host, all processes of it.
func completeProcesses(state *string, then ...string) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return startingWith(begun, processes(command.Context(), *state, len(then) == 0)), cobra.ShellCompDirectiveNoFileComp
		case 1:
			return startingWith(begun, then), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// processes asks the fleet; without an answer there are none.
func processes(ctx context.Context, state string, hosts bool) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	answer, err := front.Ask(ctx, state, fleet.Request{Op: "status"})
	if err != nil {
		return nil
	}
	var out []string
	for _, row := range answer.Snapshot.Processes {
		out = append(out, row.Name)
		if hosts && row.Host != "" {
			out = append(out, row.Host)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// names asks pilot; without an answer there are none.
func (c *connection) names(ctx context.Context, kind, namespace string) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	conn, err := c.dial()
	if err != nil {
		return nil
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	r, err := pilotv1.NewConfigServiceClient(conn).List(ctx, &pilotv1.ListRequest{Kind: kind, Namespace: namespace})
	if err != nil {
		return nil
	}
	var out []string
	for _, o := range r.GetObjects() {
		out = append(out, o.GetMetadata().GetName())
	}
	return out
}

func startingWith(begun string, all []string) []string {
	var out []string
	for _, word := range all {
		if strings.HasPrefix(strings.ToLower(word), strings.ToLower(begun)) {
			out = append(out, word)
		}
	}
	return out
}
