package main

import (
	"context"
	"errors"
	"fmt"
	"go/format"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopDelay is how long a step may take to end after it was asked to.
const stopDelay = 20 * time.Second

// runner runs groups one after the other.
type runner struct {
	root    string
	modules []string
	out     io.Writer
	check   map[string]func(ctx context.Context) error
}

// Run runs all groups, whatever becomes of the earlier ones, until ctx ends.
func (r runner) Run(ctx context.Context, groups []group) []result {
	results := make([]result, 0, len(groups))
	for _, g := range groups {
		if ctx.Err() != nil {
			results = append(results, result{name: g.Name, state: notRun, reason: "interrupted"})
			continue
		}
		results = append(results, r.one(ctx, g))
	}
	return results
}

// one runs a group if the machine can.
func (r runner) one(ctx context.Context, g group) result {
	fmt.Fprintf(r.out, "\n== %s: %s\n", g.Name, g.About)
	began := time.Now()
	done := result{name: g.Name, state: passed}
	for _, need := range g.Needs {
		if err := r.check[need](ctx); err != nil {
			done.state, done.reason = notRun, err.Error()
			fmt.Fprintf(r.out, "%s cannot run: %v\n", g.Name, err)
			return done
		}
	}
	ctx, cancel := context.WithTimeout(ctx, g.Limit)
	defer cancel()
	err := r.prepare(ctx, g)
	if err == nil {
		err = r.steps(ctx, g)
	}
	done.took = time.Since(began)
	if err != nil {
		done.state, done.reason = failed, err.Error()
		fmt.Fprintf(r.out, "%s failed: %v\n", g.Name, err)
	}
	return done
}

// prepare installs and builds what the group runs.
func (r runner) prepare(ctx context.Context, g group) error {
	if len(g.Setup) > 0 {
		run := append([]string{"go", "run", "./setup", "-root", "..", "-quiet"}, g.Setup...)
		if err := r.command(ctx, run, "tools", nil); err != nil {
			return fmt.Errorf("setup: %w", err)
		}
	}
	if g.Build {
		if err := r.command(ctx, []string{"make", "--no-print-directory", "build"}, "", nil); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	return nil
}

// steps runs every step, the later ones too if one fails, and joins what went wrong.
func (r runner) steps(ctx context.Context, g group) error {
	var problems []error
	for _, s := range g.Steps {
		dirs := []string{s.Dir}
		if s.Each {
			dirs = r.modules
		}
		for _, dir := range dirs {
			if err := r.step(ctx, s, dir); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", title(s, dir), err))
			}
			if ctx.Err() != nil {
				return errors.Join(append(problems, fmt.Errorf("time limit %s", g.Limit))...)
			}
		}
	}
	if len(problems) > 0 {
		texts := make([]string, len(problems))
		for i, p := range problems {
			texts[i] = p.Error()
		}
		return errors.New(strings.Join(texts, "; "))
	}
	return nil
}

// title names a step for the reader of a failure.
func title(s step, dir string) string {
	name := s.About
	if name == "" {
		name = strings.Join(s.Run[:min(2, len(s.Run))], " ")
	}
	if s.Each {
		name += " in " + dir
	}
	return name
}

func (r runner) step(ctx context.Context, s step, dir string) error {
	if s.About != "" {
		fmt.Fprintf(r.out, "-- %s\n", title(s, dir))
	}
	switch {
	case s.Run[0] == "gofmt-check":
		return r.formatted()
	case s.User:
		return r.asUser(ctx, s, dir)
	}
	var change func(*exec.Cmd)
	if s.Workspace {
		change = func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GOWORK="+filepath.Join(r.root, "go.work")) }
	}
	return r.command(ctx, r.words(s.Run), dir, change)
}

// words is the command that stands in the table as "run".
func (r runner) words(run []string) []string {
	var all []string
	for _, word := range run {
		if !strings.Contains(word, "{modules}") {
			all = append(all, word)
			continue
		}
		for _, dir := range r.modules {
			all = append(all, strings.ReplaceAll(word, "{modules}", "./"+dir))
		}
	}
	if strings.HasPrefix(all[0], ".tools/") {
		all[0] = filepath.Join(r.root, all[0])
	}
	return all
}

// command runs in a folder below the repository, in a process group of its own, with no
// input and its output passed through. When ctx ends the whole group is asked to end.
func (r runner) command(ctx context.Context, run []string, dir string, change func(*exec.Cmd)) error {
	cmd := exec.CommandContext(ctx, run[0], run[1:]...)
	cmd.Dir = filepath.Join(r.root, dir)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOLANGCI_LINT_CACHE="+filepath.Join(r.root, ".tools", "cache", "golangci"))
	cmd.Stdout, cmd.Stderr = r.out, r.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopDelay
	if change != nil {
		change(cmd)
	}
	return cmd.Run()
}

// formatted wants every Go file that people write as gofmt writes it.
func (r runner) formatted() error {
	bad := 0
	err := filepath.WalkDir(r.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != r.root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "gen" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if want, err := format.Source(text); err != nil || string(want) != string(text) {
			bad++
			fmt.Fprintf(r.out, "%s: not as gofmt writes it\n", path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("formatting: %w", err)
	}
	if bad > 0 {
		return fmt.Errorf("%d files are not formatted", bad)
	}
	return nil
}
