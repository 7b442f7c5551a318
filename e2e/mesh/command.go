package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Result is how a call of the command line ended.
type Result struct {
	Args   []string
	Code   int
	Stdout string
	Stderr string
	Took   time.Duration
}

// String shows everything, for failures.
func (r Result) String() string {
	return fmt.Sprintf("outrigger %s: exit code %d after %v\nstdout: %s\nstderr: %s",
		strings.Join(r.Args, " "), r.Code, r.Took.Round(time.Millisecond), r.Stdout, r.Stderr)
}

// Expect is nil when the exit code is the wanted one and every text is in what was
// printed, upper and lower case being the same.
func (r Result) Expect(code int, texts ...string) error {
	if r.Code != code {
		return fmt.Errorf("want exit code %d: %s", code, r)
	}
	printed := strings.ToLower(r.Stdout + "\n" + r.Stderr)
	for _, text := range texts {
		if !strings.Contains(printed, strings.ToLower(text)) {
			return fmt.Errorf("want %q in what is printed: %s", text, r)
		}
	}
	return nil
}

// commandLimit bounds a call of the command line.
const commandLimit = 2 * time.Minute

// Outrigger calls the command line for this mesh. An error says that it could not be
// run; how it ended is in the Result.
func (m *Mesh) Outrigger(ctx context.Context, args ...string) (Result, error) {
	return m.OutriggerInput(ctx, nil, args...)
}

// OutriggerInput is Outrigger with standard input.
func (m *Mesh) OutriggerInput(ctx context.Context, input []byte, args ...string) (Result, error) {
	return m.Root.Outrigger(ctx, m.Dir, input, append(slices.Clone(args), "--state", m.State)...)
}

// Outrigger calls the command line in a folder.
func (r Root) Outrigger(ctx context.Context, dir string, input []byte, args ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	result := Result{Args: args}
	var out, errs bytes.Buffer
	command := exec.CommandContext(ctx, r.Binary("outrigger"), args...)
	command.Dir = dir
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &out, &errs
	command.WaitDelay = time.Second
	began := time.Now()
	err := command.Run()
	result.Took = time.Since(began)
	result.Stdout, result.Stderr = out.String(), errs.String()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		result.Code, err = exit.ExitCode(), nil
	}
	if err != nil {
		return result, fmt.Errorf("%s: %w", result, err)
	}
	return result, nil
}

// fleet calls `outrigger fleet` and returns what it prints.
func (m *Mesh) fleet(ctx context.Context, args ...string) (string, error) {
	result, err := m.Root.Outrigger(ctx, m.Dir, nil, append(append([]string{"fleet"}, args...), "--state", m.State)...)
	if err != nil {
		return "", err
	}
	return result.Stdout, result.Expect(0)
}

// StartProcess starts a process or host that was stopped or never started. It does not
// wait until it is ready.
func (m *Mesh) StartProcess(ctx context.Context, name string) error {
	_, err := m.fleet(ctx, "start", name)
	return err
}

// StopProcess stops a process or host until it is started again, and waits for its end.
func (m *Mesh) StopProcess(ctx context.Context, name string) error {
	_, err := m.fleet(ctx, "stop", name)
	return err
}

// RestartProcess stops a process or host and starts it again.
func (m *Mesh) RestartProcess(ctx context.Context, name string) error {
	_, err := m.fleet(ctx, "restart", name)
	return err
}
