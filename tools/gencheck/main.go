// Command gencheck makes the generated code from the contracts in proto and compares
// it with what is committed under proto/gen.
//
// Without flags it only compares: every file that is missing, stale or different is
// named and the exit code is 1. With -write it brings proto/gen up to date, touching
// only files whose content changes. It never edits a contract.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// limit bounds one whole run; buf needs seconds.
const limit = 5 * time.Minute

func main() {
	root := flag.String("root", ".", "repository `folder`")
	write := flag.Bool("write", false, "bring proto/gen up to date instead of comparing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, limit)
	err := check(ctx, *root, *write)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gencheck:", err)
		os.Exit(1)
	}
}

// check generates into a temporary folder and compares or copies.
func check(ctx context.Context, root string, write bool) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("folder %q: %w", root, err)
	}
	fresh, err := os.MkdirTemp("", "gencheck-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(fresh)
	if err := generate(ctx, root, fresh); err != nil {
		return err
	}
	diffs, err := compare(filepath.Join(root, genDir), filepath.Join(fresh, genDir))
	if err != nil {
		return err
	}
	if write {
		return apply(diffs, os.Stdout)
	}
	for _, d := range diffs {
		fmt.Fprintf(os.Stderr, "%s: %s\n", filepath.Join(genDir, d.name), d.state)
	}
	if len(diffs) > 0 {
		return fmt.Errorf("%d generated files are not fresh: run make generate and commit proto/gen", len(diffs))
	}
	return nil
}
