// Package cli is the command line `outrigger`: it turns arguments into calls and
// results into text and exit codes. One file per verb.
package cli

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Exit codes that every verb has. A verb may have more, through Exit.
const (
	exitFailure = 1
	exitUsage   = 2
)

// streams are what a verb reads from and writes to.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// Exit is an error that decides the exit code. Err may be nil: then nothing is
// printed.
type Exit struct {
	Code int
	Err  error
}

// Error is the text of Err.
func (e *Exit) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Exit) Unwrap() error { return e.Err }

// Main runs the command line and returns the exit code: 0, 1 for a failure, 2 for
// arguments that are not understood, or what an Exit says.
func Main(args []string, in io.Reader, out, errs io.Writer) int {
	if run := hidden(args); run != nil {
		return report(run(), errs)
	}
	root := newRoot(streams{in: in, out: out, err: errs})
	root.SetArgs(args)
	understood := false
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	command, err := root.ExecuteC()
	if err != nil && !understood {
		err = &Exit{Code: exitUsage, Err: fmt.Errorf("%w\nsee `%s --help`", err, command.CommandPath())}
	}
	return report(err, errs)
}

func report(err error, errs io.Writer) int {
	if err == nil {
		return 0
	}
	if r := (*refusal)(nil); errors.As(err, &r) {
		printProblems(errs, r.problems)
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(errs, "outrigger:", visibleLines(text))
	}
	if exit := (*Exit)(nil); errors.As(err, &exit) {
		return exit.Code
	}
	return exitFailure
}

func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "outrigger",
		Short:         "Outrigger, a service mesh of stock Envoys",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.AddCommand(newUp(s), newDown(s), newFleet(s), newApply(s), newGet(s), newDelete(s), newStatus(s), newWait(s), newBus(s), newVersion(s))
	info, _ := debug.ReadBuildInfo()
	root.Version = versionText(info)
	root.SetVersionTemplate("{{.Version}}")
	return root
}

// group makes a command that only holds others: alone it shows its help, and what
// it does not know it refuses.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
}
