// Command setup installs the pinned parts of the project below .tools and nowhere else.
//
// In come the table pins.yaml and the names of groups or parts (none means all). What
// is fetched is checked against its hash before it is opened, what is kept is checked
// again, and a file appears under its name complete or not at all. A part that is there
// already costs a few stat calls. setup never installs anything for the whole machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// limit bounds one whole set-up on a slow line.
const limit = 40 * time.Minute

func main() {
	root := flag.String("root", ".", "repository `folder`")
	quiet := flag.Bool("quiet", false, "say nothing about parts that are there already")
	flag.Usage = usage
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, limit)
	err := install(ctx, *root, *quiet, flag.Args())
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "setup:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(flag.CommandLine.Output(), "usage: setup [-root folder] [-quiet] [group or part ...]")
	flag.PrintDefaults()
	if p, err := parsePins(pinsYAML); err == nil {
		for _, name := range sortedKeys(p.Groups) {
			fmt.Fprintf(flag.CommandLine.Output(), "  group %-9s %v\n", name, p.Groups[name])
		}
	}
}

// install brings the chosen parts up to date, one after the other.
func install(ctx context.Context, root string, quiet bool, names []string) error {
	table, err := parsePins(pinsYAML)
	if err != nil {
		return err
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("repository folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "buf.yaml")); err != nil {
		return fmt.Errorf("%s is not the repository: %w", root, err)
	}
	in, err := newInstaller(root, table, os.Stdout)
	if err != nil {
		return err
	}
	in.quiet = quiet
	return in.Install(ctx, names)
}
