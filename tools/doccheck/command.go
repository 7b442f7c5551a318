package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	commandTimeout = time.Minute
	// again is the pause before a command is repeated.
	again = 200 * time.Millisecond
)

// run carries a step out, again and again for as long as it may take.
func (m *mesh) run(ctx context.Context, s step) error {
	began := time.Now()
	for {
		text, code, err := m.shell(ctx, s.command)
		if err != nil {
			return err
		}
		problem := s.judge(text, code)
		if problem == nil || time.Since(began) >= s.within {
			return problem
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// judge compares what a command did with what the document shows.
func (s step) judge(text string, code int) error {
	got := strings.Split(text, "\n")
	if code == s.exit && (s.want == nil || matches(plain(s.want), plain(got))) {
		return nil
	}
	return fmt.Errorf("exit code %d, want %d\nit printed:\n%s\nthe document shows:\n%s",
		code, s.exit, indent(got), indent(s.want))
}

func indent(lines []string) string { return "  | " + strings.Join(plain(lines), "\n  | ") }

// shell runs a command and returns what it printed, to either stream, with the usual
// addresses in it.
func (m *mesh) shell(ctx context.Context, command string) (text string, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", m.published.Replace(command))
	cmd.Dir = m.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", 0, fmt.Errorf("not done within %s; it printed %q", commandTimeout, out)
	case errors.As(err, &exit):
		return m.usual.Replace(string(out)), exit.ExitCode(), nil
	case err != nil:
		return "", 0, fmt.Errorf("shell: %w", err)
	}
	return m.usual.Replace(string(out)), 0, nil
}

// sweep deletes the objects that were applied and are still there, and names them.
func (m *mesh) sweep(ctx context.Context) ([]string, error) {
	text, code, err := m.shell(ctx, "bin/outrigger get all -A")
	if err != nil || code != 0 {
		return nil, errors.Join(err, fmt.Errorf("what is left: exit code %d: %s", code, text))
	}
	left := applied(text)
	if len(left) == 0 {
		return nil, nil
	}
	if text, code, err = m.shell(ctx, "bin/outrigger delete "+strings.Join(left, " ")); err != nil || code != 0 {
		return nil, errors.Join(err, fmt.Errorf("delete: exit code %d: %s", code, text))
	}
	return left, nil
}

// applied lists the objects of a table that came neither from a file nor from an agent,
// as KIND/NAMESPACE/NAME.
func applied(table string) []string {
	const kind, namespace, name, origin = 0, 1, 2, 4 // columns
	var out []string
	for line := range strings.Lines(table) {
		if cells := strings.Fields(line); len(cells) > origin && cells[origin] == "api" {
			out = append(out, cells[kind]+"/"+cells[namespace]+"/"+cells[name])
		}
	}
	return out
}
