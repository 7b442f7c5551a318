package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	startTimeout = 3 * time.Minute
	stopTimeout  = 30 * time.Second
	// stateFolder is where the mesh and all commands look unless they are told.
	stateFolder = ".outrigger"
	fleetFile   = "deploy/local/fleet.yaml"
)

// mesh is a running mesh with a folder to work in.
type mesh struct {
	dir       string
	up        *exec.Cmd
	ended     chan error        // takes how it ended, once
	usual     *strings.Replacer // the addresses that the fleet has to those in the documents
	published *strings.Replacer // and back
}

// startMesh makes the folder and starts `outrigger up` there. The mesh takes any free
// ports, so that it can run beside another one.
func startMesh(ctx context.Context, root string) (m *mesh, err error) {
	dir, err := os.MkdirTemp("", "doccheck-")
	if err != nil {
		return nil, fmt.Errorf("folder to work in: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := linkAll(root, dir); err != nil {
		return nil, fmt.Errorf("folder to work in: %w", err)
	}
	// It is ended by asking, not by ctx: it has much to take down.
	up := exec.CommandContext(context.WithoutCancel(ctx), "bin/outrigger", "up", "--free-ports", "--quiet")
	up.Dir = dir
	m = &mesh{dir: dir, up: up, ended: make(chan error, 1)}
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	if err := m.readPorts(); err != nil {
		return nil, errors.Join(err, m.end())
	}
	return m, nil
}

// start returns when the mesh is ready.
func (m *mesh) start(ctx context.Context) error {
	var errs strings.Builder
	m.up.Stderr = &errs
	out, err := m.up.StdoutPipe()
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if err := m.up.Start(); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	ready := make(chan struct{})
	go func() {
		follow(out, ready)
		m.ended <- m.up.Wait()
	}()
	select {
	case <-ready:
		return nil
	case err := <-m.ended:
		return fmt.Errorf("the mesh did not start: %w\n%s", err, errs.String())
	case <-time.After(startTimeout):
		return errors.Join(fmt.Errorf("the mesh was not ready within %s", startTimeout), m.end())
	case <-ctx.Done():
		return errors.Join(ctx.Err(), m.end())
	}
}

// linkAll links everything of the repository but what belongs to runs of its own.
func linkAll(root, dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == stateFolder || e.Name() == ".git" {
			continue
		}
		if err := os.Symlink(filepath.Join(root, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// follow reads what the mesh prints to its end and closes ready when it says so.
func follow(out io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(out)
	said := false
	for lines.Scan() {
		if !said && strings.HasPrefix(lines.Text(), "ready in ") {
			said = true
			close(ready)
		}
	}
}

// readPorts learns at which addresses the fleet has what it publishes.
func (m *mesh) readPorts() error {
	var file struct {
		Publish []struct {
			Name string `yaml:"name"`
			Port int    `yaml:"port"`
		} `yaml:"publish"`
	}
	text, err := os.ReadFile(filepath.Join(m.dir, fleetFile))
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		return fmt.Errorf("usual ports: %w", err)
	}
	var now struct {
		Published map[string]string `json:"published"`
	}
	text, err = os.ReadFile(filepath.Join(m.dir, stateFolder, "run", "fleet.json"))
	if err == nil {
		err = json.Unmarshal(text, &now)
	}
	if err != nil {
		return fmt.Errorf("ports of the mesh: %w", err)
	}
	var there, back []string
	for _, p := range file.Publish {
		usual := fmt.Sprintf("127.0.0.1:%d", p.Port)
		there = append(there, usual, now.Published[p.Name])
		back = append(back, now.Published[p.Name], usual)
	}
	m.published, m.usual = strings.NewReplacer(there...), strings.NewReplacer(back...)
	return nil
}

// stop ends the mesh and removes the folder.
func (m *mesh) stop() error {
	return errors.Join(m.end(), os.RemoveAll(m.dir))
}

// end asks the mesh to end, and forces it if it does not.
func (m *mesh) end() error {
	if err := m.up.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the mesh: %w", err)
	}
	select {
	case err := <-m.ended:
		if err != nil {
			return fmt.Errorf("the mesh ended with %w", err)
		}
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("the mesh did not end within %s", stopTimeout), m.up.Process.Kill())
	}
}
