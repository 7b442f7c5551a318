package front

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/outrigger-mesh/outrigger/tools/outrigger/internal/fleet"
)

// Config is what the command line says.
type Config struct {
	State     string
	File      string // the fleet file
	Bin       string
	Envoy     string
	Ports     map[string]uint16 // by published name; instead of the fleet file's
	FreePorts bool              // take any free port for all names that Ports does not have
	Timeout   time.Duration     // until everything must be ready
	Quiet     bool
}

// Refusal is an error that the person at the terminal can do something about.
type Refusal struct {
	Problem string
	Advice  string
	Cause   error
}

// Error says what is wrong and, in a line of its own, what to do.
func (r *Refusal) Error() string {
	text := r.Problem
	if r.Cause != nil {
		text += ": " + r.Cause.Error()
	}
	return text + "\n  what to do: " + r.Advice
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// resolved are the paths and the plan of a run.
type resolved struct {
	file fleet.File
	plan fleet.Plan
}

// resolve turns the configuration into a plan.
func resolve(c Config) (resolved, error) {
	file, err := fleet.Load(c.File)
	if err != nil {
		return resolved{}, &Refusal{Problem: "the fleet file cannot be used", Cause: err, Advice: "name another one with --fleet, or correct this one"}
	}
	settings := fleet.Settings{Root: os.Geteuid() == 0}
	if settings.State, err = stateFolder(c.State); err != nil {
		return resolved{}, err
	}
	if settings.Bin, err = realPath(c.Bin); err != nil {
		return resolved{}, &Refusal{Problem: "the folder of the services' binaries cannot be used", Cause: err, Advice: "build them with `make build`, or name their folder with --bin"}
	}
	if settings.Config, err = realPath(file.Config); err != nil {
		return resolved{}, &Refusal{Problem: "the folder of configuration files cannot be used", Cause: err, Advice: "correct `config` in the fleet file " + c.File}
	}
	if file.UsesEnvoy {
		if settings.Envoy, err = realPath(c.Envoy); err != nil {
			return resolved{}, envoyRefusal(c.Envoy, err)
		}
	}
	plan, err := fleet.NewPlan(file, settings)
	if err != nil {
		return resolved{}, &Refusal{Problem: "the fleet file " + c.File + " cannot be used", Cause: err, Advice: "correct it, or name another one with --fleet"}
	}
	for i, p := range plan.Publish {
		if port, given := c.Ports[p.Name]; given {
			plan.Publish[i].Port = port
		} else if c.FreePorts {
			plan.Publish[i].Port = 0
		}
	}
	return resolved{file: file, plan: plan}, checkPortNames(c, plan)
}

func checkPortNames(c Config, plan fleet.Plan) error {
	known := map[string]bool{}
	for _, p := range plan.Publish {
		known[p.Name] = true
	}
	for name := range c.Ports {
		if !known[name] {
			return &Refusal{Problem: fmt.Sprintf("no port is published under the name %q", name), Advice: "see `publish` in the fleet file " + c.File}
		}
	}
	return nil
}

// realPath makes a path absolute and free of symbolic links.
func realPath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// stateFolder makes the state folder and sees to it that it can be used.
func stateFolder(path string) (string, error) {
	refuse := func(err error) error {
		return &Refusal{
			Problem: "the state folder " + path + " cannot be used", Cause: err,
			Advice: "name another folder with --state, or make this one yours (`chown -R`) or remove it",
		}
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // the services have uids of their own and folders inside
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return "", refuse(err)
	}
	folder, err := realPath(path)
	if err != nil {
		return "", refuse(err)
	}
	for _, each := range []string{folder, filepath.Join(folder, fleet.RunFolder), filepath.Join(folder, fleet.LogFolder)} {
		if err := makeUsable(each); err != nil {
			return "", refuse(err)
		}
	}
	if err := os.Chmod(folder, mode); err != nil {
		return "", refuse(err)
	}
	return folder, nil
}

func makeUsable(folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	probe, err := os.CreateTemp(folder, ".probe-")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}
