// Package conf turns a YAML file and command-line flags into a service's Config. In:
// arguments and the defaults. Out: a filled struct, or every mistake at once with its
// line. It never reads the environment and never logs.
package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// UsageError is a mistake in flags or in the file. Exit code 2.
type UsageError struct{ problems []string }

// Error lists all problems, one a line.
func (e *UsageError) Error() string { return strings.Join(e.problems, "\n       ") }

// ExitCode is 2.
func (*UsageError) ExitCode() int { return 2 }

type helpShown struct{}

func (helpShown) Error() string { return "help was asked for" }
func (helpShown) ExitCode() int { return 0 }

// ErrHelp says that --help was given and answered on standard output. Exit code 0.
var ErrHelp error = helpShown{}

// Load returns def overlaid with the file named by --config, overlaid with flags.
// Each leaf of T with a yaml tag is a key of the file and a flag of the same dotted
// name; its help tag describes it. Lists of structs have no flag. An unknown key, an
// unknown flag and a value of the wrong type are errors of type *UsageError.
func Load[T any](name, about string, args []string, def T) (T, error) {
	cfg := def
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(io.Discard)
	file := fs.String("config", "", "YAML file with the keys below; flags win over it")
	leaves := leavesOf(&cfg)
	set := map[string][]string{} // flag name to the values given, in order
	for _, l := range leaves {
		if l.flag {
			f := fs.VarPF(&recorder{name: l.name, kind: l.kind(), value: l.text(), into: set}, l.name, "", l.help)
			if l.kind() == "bool" {
				f.NoOptDefVal = "true"
			}
		}
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			fmt.Printf("%s\n\nUsage: %s [--config FILE] [flags]\n\n%s", about, name, fs.FlagUsages())
			return def, ErrHelp
		}
		return def, &UsageError{[]string{err.Error() + " (see --help)"}}
	}
	if fs.NArg() > 0 {
		return def, &UsageError{[]string{fmt.Sprintf("unexpected argument %q (see --help)", fs.Arg(0))}}
	}
	problems := readFile(*file, &cfg)
	for _, l := range leavesOf(&cfg) {
		if values := set[l.name]; values != nil {
			if err := l.parse(values); err != nil {
				problems = append(problems, fmt.Sprintf("--%s: %v", l.name, err))
			}
		}
	}
	if problems != nil {
		return def, &UsageError{problems}
	}
	return cfg, nil
}

// readFile decodes path into cfg and returns what is wrong with it, each with path and line.
func readFile(path string, cfg any) []string {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return []string{fmt.Sprintf("--config: %v", err)}
	}
	defer f.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", path, err)}
	}
	if len(data) > maxFile {
		return []string{fmt.Sprintf("%s: more than %d bytes", path, maxFile)}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	err = dec.Decode(cfg)
	var many *yaml.TypeError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &many):
		problems := make([]string, len(many.Errors))
		for i, e := range many.Errors {
			problems[i] = place(path, e)
		}
		return problems
	}
	return []string{place(path, strings.TrimPrefix(err.Error(), "yaml: "))}
}

// place turns "line 3: field x not found in type y" into "path:3: unknown key x".
func place(path, text string) string {
	rest, ok := strings.CutPrefix(text, "line ")
	line, what, colon := strings.Cut(rest, ": ")
	if !ok || !colon {
		return path + ": " + text
	}
	if key, unknown := strings.CutPrefix(what, "field "); unknown {
		key, _, _ = strings.Cut(key, " not found")
		what = fmt.Sprintf("unknown key %q", key)
	}
	return path + ":" + line + ": " + what
}
