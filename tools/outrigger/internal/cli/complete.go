package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// completeTimeout is how long a shell waits for names.
const completeTimeout = 2 * time.Second

// completeNames offers kinds, and then the names of objects of that kind.
func completeNames(c *connection, namespace *string) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return startingWith(begun, append(decode.Kinds(), allKinds)), cobra.ShellCompDirectiveNoFileComp
		}
		return startingWith(begun, c.names(command.Context(), args[0], *namespace)), cobra.ShellCompDirectiveNoFileComp
	}
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
