package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// deleting is what `outrigger delete` was asked for.
type deleting struct {
	connection
	files         []string
	namespace     string
	ignoreMissing bool
	wait          bool
	timeout       time.Duration
	format        string
}

func newDelete(s streams) *cobra.Command {
	d := &deleting{}
	command := &cobra.Command{
		Use:   "delete (KIND NAME... | KIND/NAME... | -f FILE...)",
		Short: "Delete objects, all of them or none",
		Long: "Deletes the named objects, or those that files hold, in one batch with one revision. What others still\n" +
			"use is not deleted. An object that a file gives a metadata.revision is deleted only if that is its\n" +
			"revision still. With -o json and -o yaml a refusal is a document as well, and how --wait ended is told, as apply does.\n\n" +
			"Exit codes: 0 done, 1 refused or failed, 2 usage; with --wait also 4 not gone everywhere in time,\n" +
			"5 a proxy refused to go on without it.",
		Example:           "  outrigger delete routerule reviews-v3 --wait\n  outrigger delete -f samples/bookinfo/route-rule-all-v1.yaml",
		ValidArgsFunction: completeNames(&d.connection, &d.namespace),
		PreRunE: func(command *cobra.Command, args []string) error {
			if (len(args) == 0) == (len(d.files) == 0) {
				return &Exit{Code: exitUsage, Err: errors.New("want either KIND NAME or -f FILE")}
			}
			return errors.Join(oneOf("output", d.format, "table", "json", "yaml"), waiting(command, d.wait), positive(d.timeout))
		},
		RunE: func(command *cobra.Command, args []string) error {
			return answered(s, d.format, d.run(command.Context(), s, args))
		},
	}
	flags := command.Flags()
	flags.StringArrayVarP(&d.files, "filename", "f", nil, "`FILE`, folder, or - for standard input; may be repeated")
	flags.StringVarP(&d.namespace, "namespace", "n", decode.DefaultNamespace, "namespace")
	flags.BoolVar(&d.ignoreMissing, "ignore-missing", false, "what is not there is no mistake")
	flags.BoolVar(&d.wait, "wait", false, "wait until no proxy has the objects any longer")
	flags.DurationVar(&d.timeout, "timeout", 30*time.Second, "how long --wait waits, at most 10m")
	outputFlag(command, &d.format, "table", "json", "yaml")
	d.connection.flags(command)
	return command
}

func (d *deleting) run(ctx context.Context, s streams, args []string) error {
	req := &pilotv1.DeleteRequest{IgnoreMissing: d.ignoreMissing}
	var err error
	if len(d.files) > 0 {
		req.Namespace = d.namespace
		req.Documents, err = documents(d.files, s)
	} else {
		req.Refs, err = refsIn(args, d.namespace)
	}
	if err != nil {
		return err
	}
	return d.with(ctx, s, func(ctx context.Context, conn *grpc.ClientConn) error {
		client := pilotv1.NewConfigServiceClient(conn)
		r, err := d.delete(ctx, s, client, req)
		if err != nil {
			return err
		}
		if len(r.GetDeleted()) == 0 {
			fmt.Fprintln(s.err, "nothing to delete")
			if d.format == "table" {
				return nil
			}
			return d.print(s.out, r)
		}
		if !d.wait {
			return d.print(s.out, r)
		}
		f := following{s: s, client: client, format: d.format, timeout: d.timeout, words: deleted, explain: d.explain}
		return f.after(ctx, r, &pilotv1.WaitRequest{Revision: r.GetRevision(), Refs: refsOf(r.GetDeleted())},
			func() error { return d.print(s.out, r) })
	})
}

func (d *deleting) delete(ctx context.Context, s streams, client pilotv1.ConfigServiceClient, req *pilotv1.DeleteRequest) (*pilotv1.DeleteResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	slow := patience(s, "waiting for pilot")
	defer slow.done()
	return client.Delete(ctx, req)
}

// print says what became of each object.
func (d *deleting) print(out io.Writer, r *pilotv1.DeleteResponse) error {
	if d.format != "table" {
		return printMessage(out, d.format, r)
	}
	printApplied(out, r.GetDeleted())
	fmt.Fprintf(out, "%s; revision %d\n", counted(r.GetDeleted()), r.GetRevision())
	return nil
}
