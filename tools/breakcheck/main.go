// Command breakcheck compares the contracts in proto with those of the last release,
// the highest tag v<major>.<minor>.<patch> in the history of the commit that is checked out, and
// names the changes that break clients of that release: of gRPC by the rules in the
// buf.yaml of the release, of REST those that lack a path, a method or a parameter.
// Before the first such tag, or in a tree without git's history, there is nothing to
// compare with, and it says so; a shallow clone of a repository with releases is refused.
//
// It needs git and what "make setup" installs, and changes nothing in the repository.
// Exit code 1: a contract is broken, or cannot be compared.
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
	"time"
)

// limit bounds one whole run; buf needs seconds.
const limit = 2 * time.Minute

func main() {
	root := flag.String("root", ".", "repository `folder`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, limit)
	err := check(ctx, *root, os.Stdout)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "breakcheck:", err)
		os.Exit(1)
	}
}

// check compares, and tells out with what.
func check(ctx context.Context, root string, out io.Writer) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("folder %q: %w", root, err)
	}
	tag, err := lastRelease(ctx, root, out)
	if err != nil {
		return err
	}
	if tag == "" {
		_, err := fmt.Fprintln(out, "no release to compare the contracts with")
		return err
	}
	old, err := os.MkdirTemp("", "breakcheck-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(old)
	if err := export(ctx, root, tag, old); err != nil {
		return err
	}
	if err := errors.Join(compare(ctx, root, old), compareREST(root, old)); err != nil {
		return fmt.Errorf("contracts since %s: %w", tag, err)
	}
	_, err = fmt.Fprintf(out, "the contracts break nothing of %s\n", tag)
	return err
}
