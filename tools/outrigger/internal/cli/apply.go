package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// applying is what `outrigger apply` was asked for.
type applying struct {
	connection
	files     []string
	namespace string
	dryRun    bool
	wait      bool
	timeout   time.Duration
	format    string
}

func newApply(s streams) *cobra.Command {
	a := &applying{}
	command := &cobra.Command{
		Use:   "apply -f FILE...",
		Short: "Write objects from files, all of them or none",
		Long: "Checks the documents against the mesh as it would be and writes them as one batch with one\n" +
			"revision. Documents of outrigger.dev/v1 and of config.istio.io/v1alpha2 are taken, YAML or JSON.\n" +
			"An object with metadata.revision is written only if that is its revision still. With -o json and\n" +
			"-o yaml a refusal is a document as well, {problems: [{file, line, column, object, field, message}]};\n" +
			"with --wait the document has wait: {outcome, interested, live, missing, refused} as well.\n\n" +
			"Exit codes: 0 done, 1 refused or failed, 2 usage; with --wait also 4 not in force everywhere in\n" +
			"time, 5 a proxy refused it.",
		Example: "  outrigger apply -f samples/bookinfo/route-rule-all-v1.yaml --wait\n  outrigger get routerules -o yaml | outrigger apply -f -",
		Args:    cobra.NoArgs,
		PreRunE: func(command *cobra.Command, _ []string) error {
			return errors.Join(someFile(a.files), oneOf("output", a.format, "table", "json", "yaml"), waiting(command, a.wait), positive(a.timeout))
		},
		RunE: func(command *cobra.Command, _ []string) error {
			return answered(s, a.format, a.run(command.Context(), s))
		},
	}
	flags := command.Flags()
	flags.StringArrayVarP(&a.files, "filename", "f", nil, "`FILE`, folder with .yaml, .yml and .json files, or - for standard input; may be repeated")
	flags.StringVarP(&a.namespace, "namespace", "n", "", "namespace of objects that name none (default \"default\")")
	flags.BoolVar(&a.dryRun, "dry-run", false, "check only")
	flags.BoolVar(&a.wait, "wait", false, "wait until every proxy that uses the objects has them in force")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long --wait waits, at most 10m")
	outputFlag(command, &a.format, "table", "json", "yaml")
	a.connection.flags(command)
	return command
}

// waiting checks that a timeout is for something.
func waiting(command *cobra.Command, wait bool) error {
	if command.Flags().Changed("timeout") && !wait {
		return &Exit{Code: exitUsage, Err: errors.New("--timeout is how long --wait waits: say --wait as well")}
	}
	return nil
}

// positive checks a timeout.
func positive(d time.Duration) error {
	if d <= 0 || d > 10*time.Minute {
		return &Exit{Code: exitUsage, Err: fmt.Errorf("--timeout %v: want more than 0 and at most 10m", d)}
	}
	return nil
}

func (a *applying) run(ctx context.Context, s streams) error {
	docs, err := documents(a.files, s)
	if err != nil {
		return err
	}
	return a.with(ctx, s, func(ctx context.Context, conn *grpc.ClientConn) error {
		client := pilotv1.NewConfigServiceClient(conn)
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		slow := patience(s, "waiting for pilot")
		r, err := client.Apply(call, &pilotv1.ApplyRequest{Documents: docs, Namespace: a.namespace, DryRun: a.dryRun})
		slow.done()
		if err != nil {
			return err
		}
		for _, w := range r.GetWarnings() {
			fmt.Fprintln(s.err, "warning: "+problemLine(w))
		}
		if !a.wait || a.dryRun {
			return a.print(s.out, r)
		}
		f := following{s: s, client: client, format: a.format, timeout: a.timeout, words: written, explain: a.explain}
		return f.after(ctx, r, &pilotv1.WaitRequest{Revision: r.GetRevision(), Refs: refsOf(r.GetApplied())},
			func() error { return a.print(s.out, r) })
	})
}

// print says what became of each object.
func (a *applying) print(out io.Writer, r *pilotv1.ApplyResponse) error {
	if a.format != "table" {
		return printMessage(out, a.format, r)
	}
	printApplied(out, r.GetApplied())
	suffix := fmt.Sprintf("revision %d", r.GetRevision())
	if a.dryRun {
		suffix = "checked only, nothing was written"
	}
	fmt.Fprintf(out, "%s; %s\n", counted(r.GetApplied()), suffix)
	return nil
}

func printApplied(out io.Writer, applied []*pilotv1.Applied) {
	for _, x := range applied {
		fmt.Fprintf(out, "%s %s\n", visible(refName(x.GetRef())), strings.ToLower(x.GetAction().String()))
	}
}

func refName(r *configv1.ObjectRef) string {
	return r.GetKind() + " " + r.GetNamespace() + "/" + r.GetName()
}

func refsOf(applied []*pilotv1.Applied) []*configv1.ObjectRef {
	var out []*configv1.ObjectRef
	for _, x := range applied {
		out = append(out, x.GetRef())
	}
	return out
}

// counted sums up: "3 created, 1 unchanged".
func counted(applied []*pilotv1.Applied) string {
	n := map[pilotv1.Applied_Action]int{}
	for _, x := range applied {
		n[x.GetAction()]++
	}
	var parts []string
	for _, action := range []pilotv1.Applied_Action{
		pilotv1.Applied_CREATED, pilotv1.Applied_UPDATED, pilotv1.Applied_UNCHANGED, pilotv1.Applied_DELETED,
	} {
		if n[action] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[action], strings.ToLower(action.String())))
		}
	}
	return strings.Join(parts, ", ")
}
