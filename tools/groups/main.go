// Command groups runs the project's tests, group by group.
//
// In come the table groups.yaml, the modules of go.work and the names of groups (none
// means all). Each group's output is passed through as it comes; at the end there is one
// table of groups, results and seconds. A group that the machine cannot run is named with
// the reason and the others run all the same. Exit code: 0 all passed, 1 a group failed,
// 3 none failed and some could not run; with CI=true that is a failure as well.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == probeArg {
		if err := answerProbe(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	root := flag.String("root", ".", "repository `folder`")
	list := flag.Bool("list", false, "list the groups and what they need, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := runAll(ctx, *root, *list, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "groups:", err)
		code = exitFailed
	}
	os.Exit(code)
}

const (
	exitPassed = 0
	exitFailed = 1
	exitNotRun = 3
)

// runAll reads the table, runs what was asked for and returns the exit code.
func runAll(ctx context.Context, root string, list bool, names []string) (int, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return 0, fmt.Errorf("repository folder: %w", err)
	}
	dirs, err := modules(root)
	if err != nil {
		return 0, err
	}
	all, err := parseGroups(groupsYAML, dirs)
	if err != nil {
		return 0, err
	}
	if list {
		for _, g := range all {
			fmt.Printf("%-14s %s", g.Name, g.About)
			if len(g.Needs) > 0 {
				fmt.Printf(" (needs %s)", strings.Join(g.Needs, ", "))
			}
			fmt.Println()
		}
		return exitPassed, nil
	}
	chosen, err := choose(all, names)
	if err != nil {
		return 0, err
	}
	r := runner{root: root, modules: dirs, out: os.Stdout, check: conditions}
	results := r.Run(ctx, chosen)
	return report(os.Stdout, results, os.Getenv("CI") == "true"), nil
}
