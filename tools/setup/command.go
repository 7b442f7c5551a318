package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// probeLimit bounds the first start of what was installed.
	probeLimit = 20 * time.Second
	// firstTick is how long a step may be silent, nextTick how often it then speaks.
	firstTick, nextTick = 2 * time.Second, 5 * time.Second
)

// pip fetches wheels with the Python package client that the machine has.
type pip struct {
	dir string // for a virtual environment, if the machine's Python lacks pip
}

// Fetch lets pip find the wheel for this machine; pip refuses one with another hash.
func (p pip) Fetch(ctx context.Context, w *wheel, sha256, dir string) (string, error) {
	python, err := p.python(ctx)
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "requirements.txt")
	line := fmt.Sprintf("%s==%s --hash=sha256:%s\n", w.Package, w.Version, sha256)
	if err := os.WriteFile(list, []byte(line), 0o644); err != nil {
		return "", fmt.Errorf("writing the request: %w", err)
	}
	_, err = output(ctx, dir, nil, python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
		"--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", list, "-d", dir)
	if err != nil {
		return "", fmt.Errorf("fetching %s %s (is the package registry reachable?): %w", w.Package, w.Version, err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("fetching %s %s gave %d wheels, want 1", w.Package, w.Version, len(found))
	}
	return found[0], nil
}

// python finds an interpreter with pip, or makes an environment that has it.
func (p pip) python(ctx context.Context) (string, error) {
	python, err := need("python3", "Python 3.9 or newer", "python3 python3-pip")
	if err != nil {
		return "", err
	}
	_, pipErr := output(ctx, p.dir, nil, python, "-m", "pip", "--version")
	if pipErr == nil {
		return python, nil
	}
	env := filepath.Join(p.dir, "python")
	if _, err := output(ctx, p.dir, nil, python, "-m", "venv", env); err != nil {
		return "", fmt.Errorf("python3 has neither pip nor venv: install one of them (Debian, Ubuntu: apt-get install python3-pip): %w", pipErr)
	}
	return filepath.Join(env, "bin", "python3"), nil
}

// need finds a command or says what to install.
func need(command, what, packages string) (string, error) {
	path, err := exec.LookPath(command)
	if err != nil {
		return "", fmt.Errorf("%s is missing: install %s (Debian, Ubuntu: apt-get install %s)", command, what, packages)
	}
	return path, nil
}

// goTools builds the tool lines of a module into bin.
func (in *installer) goTools(ctx context.Context, g *gocmd) ([]string, error) {
	gocmd, err := need("go", "the Go toolchain that go.work asks for", "golang-go")
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(in.dir, "build-")
	if err != nil {
		return nil, fmt.Errorf("folder for the build: %w", err)
	}
	defer os.RemoveAll(temp)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-o", temp + string(filepath.Separator)}
	if g.Strip {
		args = append(args, "-ldflags=-s -w")
	}
	env := []string{"GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0"}
	if _, err := output(ctx, filepath.Join(in.root, g.Module), env, gocmd, append(args, "tool")...); err != nil {
		return nil, fmt.Errorf("building %s: %w", g.Module, err)
	}
	var kept []string
	for _, name := range g.Binaries {
		to := filepath.Join("bin", name)
		if err := makeRoom(filepath.Join(in.dir, to)); err != nil {
			return nil, err
		}
		if err := os.Rename(filepath.Join(temp, name), filepath.Join(in.dir, to)); err != nil {
			return nil, fmt.Errorf("putting %s in its place: %w", name, err)
		}
		kept = append(kept, to)
	}
	return kept, nil
}

// probe starts what was installed and looks for its version.
func (in *installer) probe(ctx context.Context, p *probe) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	text, err := output(ctx, in.dir, nil, filepath.Join(in.dir, p.Run[0]), p.Run[1:]...)
	if err != nil {
		return fmt.Errorf("it was installed and does not start here, %s: %w", p.Hint, err)
	}
	if !strings.Contains(text, p.Contains) {
		return fmt.Errorf("%s says %q, want %q", p.Run[0], strings.TrimSpace(text), p.Contains)
	}
	return nil
}

// output runs a command in dir with additions to the environment, and returns what it
// printed. An error carries the end of its output.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	var all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &all, &all
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s: %w", filepath.Base(name), ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(name), err, tail(all.String()))
	}
	return all.String(), nil
}

// tail keeps the last lines of a command's output.
func tail(text string) string {
	const most = 4
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	if text = strings.Join(lines, "\n"); text == "" {
		return "it printed nothing"
	}
	return text
}

// tick tells every few seconds that a long step is still going on, until it is stopped.
func tick(ctx context.Context, out io.Writer, title string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		began, next := time.Now(), time.NewTimer(firstTick)
		defer next.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-next.C:
				fmt.Fprintf(out, "  … %s, %.0f s\n", title, time.Since(began).Seconds())
				next.Reset(nextTick)
			}
		}
	})
	return func() { cancel(); wait.Wait() }
}
