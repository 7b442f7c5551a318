package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// Exit codes of what waits for proxies.
const (
	exitMissing = 4
	exitRefused = 5
)

// grace is what a stream may take longer than the timeout that pilot was told.
const grace = 5 * time.Second

func newWait(s streams) *cobra.Command {
	var c connection
	var revision uint64
	var namespace string
	timeout := 30 * time.Second
	var format string
	command := &cobra.Command{
		Use:   "wait [KIND NAME...]",
		Short: "Wait until every proxy that uses objects has them in force",
		Long: "Waits for the named objects, or for everything that was changed at a revision. With -o json and -o yaml\n" +
			"how it ended is a document, {outcome: LIVE, REFUSED or TIMED_OUT, interested, live, missing, refused}.\n\n" +
			"Exit codes: 0 in force, 1 failed, 2 usage, 4 not everywhere in time, 5 a proxy refused it.",
		ValidArgsFunction: completeNames(&c, &namespace),
		PreRunE: func(*cobra.Command, []string) error {
			return errors.Join(oneOf("output", format, "table", "json", "yaml"), positive(timeout))
		},
		RunE: func(command *cobra.Command, args []string) error {
			refs, err := refsIn(args, namespace)
			if err != nil {
				return err
			}
			return answered(s, format, c.with(command.Context(), s, func(ctx context.Context, conn *grpc.ClientConn) error {
				f := following{s: s, client: pilotv1.NewConfigServiceClient(conn), format: format, timeout: timeout, words: written, explain: c.explain}
				return f.alone(ctx, &pilotv1.WaitRequest{Revision: revision, Refs: refs})
			}))
		},
	}
	command.Flags().Uint64Var(&revision, "revision", 0, "revision to wait for; 0 is the newest")
	command.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the objects")
	command.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait, at most 10m")
	outputFlag(command, &format, "table", "json", "yaml")
	c.flags(command)
	return command
}

// words are how a wait is told: of what is to be in force, or of what is to be gone.
type words struct{ done, use, nobody, refused string }

var (
	written = words{done: "in force on", use: "use", nobody: "no proxy uses this", refused: "accepted by pilot, and refused by a proxy"}
	deleted = words{done: "gone from", use: "used", nobody: "no connected proxy used this", refused: "deleted by pilot, and a proxy refuses to go on without it"}
)

// outcome says how a wait ended.
func (w words) outcome(r *pilotv1.WaitResponse, s streams, timeout, took time.Duration) error {
	switch r.GetOutcome() {
	case pilotv1.WaitResponse_LIVE:
		if r.GetInterested() == 0 {
			fmt.Fprintln(s.err, w.nobody+": there is nothing to wait for")
			return nil
		}
		fmt.Fprintf(s.err, "%s %s (%v)\n", w.done, proxies(r.GetLive()), took.Round(time.Millisecond))
		return nil
	case pilotv1.WaitResponse_REFUSED:
		for _, x := range r.GetRefused() {
			fmt.Fprintln(s.err, visibleLines(fmt.Sprintf("%s refuses %s: %s", x.GetProxy(), x.GetResource(), x.GetMessage())))
		}
		return &Exit{Code: exitRefused, Err: fmt.Errorf("%s; %s %d of %s that %s it",
			w.refused, w.done, r.GetLive(), proxies(r.GetInterested()), w.use)}
	}
	for _, name := range r.GetMissing() {
		fmt.Fprintf(s.err, "missing: %s\n", visible(name))
	}
	return &Exit{Code: exitMissing, Err: fmt.Errorf("%s %d of %s that %s it after %v; the lines above say who is missing",
		w.done, r.GetLive(), proxies(r.GetInterested()), w.use, timeout)}
}

func proxies(n uint32) string {
	if n == 1 {
		return "1 proxy"
	}
	return fmt.Sprintf("%d proxies", n)
}
