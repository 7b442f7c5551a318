// Command doccheck sees to it that the documents tell the truth. Every file and heading
// that a document names must be there, and what its blocks fenced as console show must
// happen: their commands are run against a mesh that doccheck starts for itself.
//
// A line of a block that begins with "$ " is a command, lines with "> " continue it, and
// the lines below are what it prints: "…" stands for anything within a line and, alone on
// a line, for any lines; spaces count as one, behind a comma or colon not at all, nor do
// empty lines. A command without lines below may print what it likes. At the end of a command "# exit 4" is the code that
// it must end with, 0 without it, and "# within 5s" repeats it until it prints that.
//
// Commands run in a folder with links to all of the repository, so that nothing is
// written into it, and see the ports that the fleet file publishes at their usual
// numbers. A document takes back what it applied: what it leaves behind is a mistake.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// limit bounds one whole run.
const limit = 20 * time.Minute

func main() {
	root := flag.String("root", ".", "repository `folder`")
	static := flag.Bool("static", false, "check names only, run nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, limit)
	err := check(ctx, *root, flag.Args(), *static, os.Stdout)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "doccheck:", err)
		os.Exit(1)
	}
}

// check reads the documents, looks for what they name and runs what they show. names are
// files below root, all documents if there are none.
func check(ctx context.Context, root string, names []string, static bool, out io.Writer) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("repository folder: %w", err)
	}
	if len(names) == 0 {
		if names, err = documents(root); err != nil {
			return err
		}
	}
	var docs []document
	var problems []error
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return fmt.Errorf("document: %w", err)
		}
		d, err := parse(name, string(text))
		problems = append(problems, err, lookUp(root, d))
		docs = append(docs, d)
	}
	shown := slices.DeleteFunc(docs, func(d document) bool { return len(d.steps) == 0 })
	if err := errors.Join(problems...); err != nil || static || len(shown) == 0 {
		return err
	}
	return runAll(ctx, root, shown, out)
}

// documents lists the repository's own, sorted.
func documents(root string) ([]string, error) {
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "samples/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, fmt.Errorf("documents: %w", err)
		}
		for _, path := range found {
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, fmt.Errorf("documents: %w", err)
			}
			out = append(out, name)
		}
	}
	return out, nil
}

// runAll runs the documents one after the other on one mesh. The first command of a
// document that goes wrong ends that document.
func runAll(ctx context.Context, root string, docs []document, out io.Writer) (err error) {
	m, err := startMesh(ctx, root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	var problems []error
	for _, d := range docs {
		began := time.Now()
		problem := runDocument(ctx, m, d)
		left, err := m.sweep(ctx)
		if err != nil {
			return errors.Join(append(problems, problem, err)...)
		}
		if problem == nil && len(left) > 0 {
			problem = fmt.Errorf("%s: leaves behind %q: a document takes back what it applied", d.name, left)
		}
		problems = append(problems, problem)
		fmt.Fprintf(out, "%-24s %2d commands %6.1fs %s\n", d.name, len(d.steps), time.Since(began).Seconds(), verdict(problem))
	}
	return errors.Join(problems...)
}

func runDocument(ctx context.Context, m *mesh, d document) error {
	for _, s := range d.steps {
		if err := m.run(ctx, s); err != nil {
			return fmt.Errorf("%s:%d: $ %s\n%w", d.name, s.line, s.command, err)
		}
	}
	return nil
}

func verdict(err error) string {
	if err != nil {
		return "FAILED"
	}
	return "ok"
}
