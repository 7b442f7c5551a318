package mesh

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// EnvoyVersion is the Envoy that the tests run.
const EnvoyVersion = "1.40.0"

// rootVariable names the folder of the repository when the tests run elsewhere.
const rootVariable = "OUTRIGGER_ROOT"

// Root is the folder of the repository, or one that has bin, deploy, samples and
// .tools as the repository has them.
type Root string

// FindRoot takes OUTRIGGER_ROOT, or looks upwards from the working folder for the one
// with go.work.
func FindRoot() (Root, error) {
	if given := os.Getenv(rootVariable); given != "" {
		return Root(given), nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("look for the repository: %w", err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return Root(dir), nil
		}
	}
	return "", errors.New("look for the repository: no go.work here or above; set " + rootVariable)
}

// Path joins parts below the root.
func (r Root) Path(parts ...string) string {
	return filepath.Join(append([]string{string(r)}, parts...)...)
}

// Binary is the path of a program that `make build` makes.
func (r Root) Binary(name string) string { return r.Path("bin", name) }

// Envoy is the path of the pinned Envoy.
func (r Root) Envoy() string { return r.Path(".tools", "envoy", EnvoyVersion, "envoy") }

// Sample is the path of a file of the sample application.
func (r Root) Sample(name string) string { return r.Path("samples", "bookinfo", name) }
