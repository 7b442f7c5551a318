package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// documents are the OpenAPI documents of the services, made from the contracts.
const documents = "proto/gen/openapi/*.swagger.json"

// document is what of an OpenAPI document clients depend on, beside the messages, which
// buf compares.
type document struct {
	Paths map[string]map[string]operation
}

type operation struct {
	Parameters []struct{ In, Name string }
}

// compareREST names what clients of an old REST API do not find any more.
func compareREST(root, old string) error {
	names, err := filepath.Glob(filepath.Join(old, documents))
	if err != nil {
		return fmt.Errorf("OpenAPI documents: %w", err)
	}
	var broken []error
	for _, name := range names {
		was, err := readDocument(name)
		if err != nil {
			return err
		}
		now, err := readDocument(filepath.Join(root, filepath.Dir(documents), filepath.Base(name)))
		if err != nil {
			return err
		}
		for _, lost := range was.without(now) {
			broken = append(broken, fmt.Errorf("%s: %s is gone", filepath.Base(name), lost))
		}
	}
	return errors.Join(broken...)
}

func readDocument(name string) (document, error) {
	var d document
	text, err := os.ReadFile(name)
	if err != nil {
		return d, fmt.Errorf("an OpenAPI document: %w", err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// without lists, sorted, what is in d and not in now.
func (d document) without(now document) []string {
	var lost []string
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			operation, ok := now.Paths[path][method]
			if !ok {
				lost = append(lost, method+" "+path)
				continue
			}
			for _, p := range d.Paths[path][method].Parameters {
				if !slices.Contains(operation.Parameters, p) {
					lost = append(lost, fmt.Sprintf("%s parameter %s of %s %s", p.In, p.Name, method, path))
				}
			}
		}
	}
	return lost
}
