package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Load reads the command line: flags, and with -config the file that they override. All
// mistakes are reported together, those of the file with its line. The error is
// flag.ErrHelp when help was asked for, and printed on out.
func Load(args []string, out io.Writer) (Config, error) {
	c := DefaultConfig()
	f := c.flags()
	f.SetOutput(io.Discard) // what is wrong is in the error
	file := f.String("config", "", "JSON `file` with keys named as the flags")
	f.Usage = func() {}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(out, "sidecar-agent runs the Envoy beside one workload: certificates, names, registration, readiness.")
			f.SetOutput(out)
			f.PrintDefaults()
		}
		return Config{}, err // names the flag
	}
	if f.NArg() > 0 {
		return Config{}, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	var errs []error
	if *file != "" {
		data, err := os.ReadFile(*file)
		if err != nil {
			return Config{}, fmt.Errorf("config: %w", err)
		}
		given := map[string]bool{}
		f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
		errs = set(f, *file, data, given)
	}
	if err := errors.Join(append(errs, c.check())...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// set gives the flags the values of a flat JSON object, except those that were given.
func set(f *flag.FlagSet, file string, data []byte, given map[string]bool) []error {
	var errs []error
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	fail := func(err error) {
		line := 1 + bytes.Count(data[:d.InputOffset()], []byte{'\n'})
		errs = append(errs, fmt.Errorf("%s:%d: %w", file, line, err))
	}
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		fail(errors.New("want a JSON object"))
		return errs
	}
	seen := map[string]bool{}
	for d.More() {
		key, value, err := member(d)
		if err != nil {
			fail(err)
			return errs
		}
		switch fl := f.Lookup(key); {
		case fl == nil || key == "config":
			fail(fmt.Errorf("unknown key %q", key))
		case seen[key]:
			fail(fmt.Errorf("key %q a second time", key))
		case !given[key]:
			if err := fl.Value.Set(value); err != nil {
				fail(fmt.Errorf("%s: %w", key, err))
			}
		}
		seen[key] = true
	}
	if _, err := d.Token(); err != nil {
		fail(err)
	} else if _, err := d.Token(); !errors.Is(err, io.EOF) {
		fail(errors.New("something behind the object"))
	}
	return errs
}

// member reads a key and its value, which must be a string, a number or a bool.
func member(d *json.Decoder) (key, value string, err error) {
	t, err := d.Token()
	if err != nil {
		return "", "", err // says where
	}
	key, _ = t.(string)
	if t, err = d.Token(); err != nil {
		return "", "", err // says where
	}
	switch v := t.(type) {
	case string, json.Number, bool:
		return key, fmt.Sprint(v), nil
	default:
		return "", "", fmt.Errorf("%s: want a text, a number or a bool", key)
	}
}
